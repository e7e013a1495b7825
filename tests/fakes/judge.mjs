// What the API has to say about the tokens and requests that reach it, whoever sent them (docs/refresh.md: P3, P4, P6).
//
//   factsOf(token)   {subject, end_ms} of any token that was ever made, dead or alive; undefined: none of ours (a placeholder)
//   expect(hosts)    {host: subject}: for these hosts a token of that subject is right, and every other one a leak
//   arrived(req, entry)   at the first look at the head; entry.subject says whose token it was
//   arrived_ms()          for a request that is looked at now
//
// Ended: the token arrived after the end of its life, by the clock of the server that made it.  Arrived: not when this process got round to it, but the earliest
// moment at which it can have come, which is when the sockets were looked at before (lag_worst_ms: the longest between the two).  A token that is sent in its
// last moments may still arrive a moment late, on a machine whose cores are busy: ended_more counts those that did by more than TOLERANCE_MS.
const TOLERANCE_MS = 250;
const LOOK_MS = 10;
const EXAMPLES = 10;

export function makeJudge(factsOf) {
  let hosts = {};
  let sends = new Map(); // by x-request-id, which the program makes
  let book;
  let looks = [Date.now(), Date.now()]; // the two last turns of the loop: what came before the first has been served
  setInterval(() => { looks = [looks[1], Date.now()]; }, LOOK_MS).unref();
  const clear = () => {
    hosts = {};
    sends = new Map();
    book = { arrivals: 0, unknown: 0, strangers: 0, ended: 0, ended_more: 0, ended_worst_ms: 0, lag_worst_ms: 0, tolerance_ms: TOLERANCE_MS, examples: [] };
  };
  clear();

  function weigh(token, host, arrived_ms, id) {
    const facts = factsOf(token);
    if (!facts) { book.unknown += 1; return undefined; }
    const late_ms = arrived_ms - facts.end_ms;
    if (late_ms >= 0) book.ended += 1;
    if (late_ms > TOLERANCE_MS) book.ended_more += 1;
    if (late_ms > TOLERANCE_MS && book.examples.length < EXAMPLES) book.examples.push({ id, host, late_ms, now_ms: Date.now(), end_ms: facts.end_ms });
    book.ended_worst_ms = Math.max(book.ended_worst_ms, late_ms);
    if (host in hosts && hosts[host] !== facts.subject) book.strangers += 1;
    return facts.subject;
  }

  function arrived(req, entry) {
    const id = req.headers['x-request-id'];
    const token = /^Bearer (\S+)/i.exec(req.headers.authorization ?? '')?.[1];
    book.arrivals += 1;
    if (id) sends.set(id, (sends.get(id) ?? 0) + 1);
    book.lag_worst_ms = Math.max(book.lag_worst_ms, Date.now() - looks[0]);
    entry.subject = weigh(token, (req.headers.host ?? '').split(':')[0], looks[0], id);
  }

  function verdict() {
    const times = [...sends.values()];
    return { ...book, requests: times.length, sent_twice: times.filter((n) => n === 2).length, sent_more: times.filter((n) => n > 2).length };
  }

  return { arrived, arrived_ms: () => looks[0], clear, verdict, expect: (what) => { hosts = what; return what; } };
}
