"""docs/http.md §8: frames by hand, as no library sends them, from the client and from the upstream."""
import frames
import pytest
import wire
from cases import http2
from frames import CODES

CLIENT = {**http2.FRAMES, **http2.HPACK, **http2.FIELDS}


class Scene:
    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "frames")
        self.upstream = frames.Upstream(self.world)
        self.upstream.answers["/held"] = lambda link, stream: None
        self.upstream.answers["/slow"] = lambda link, stream: setattr(link, "keeps_up", False)
        self.sidekey = self.world.start(self.world.config(self.upstream, rules=[self.world.rule(frames.API, http2="mirror")]))

    def client(self, *first):
        link = frames.client(self.sidekey)
        link.send(*(first or (frames.PREFACE, frames.settings())))
        return link


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "frames", pki)
    yield made
    made.world.close()


def outcome_of(link, stream):
    """What came of it, in the words of the tables."""
    if link.goaway and link.goaway[1]:
        return f"goaway {CODES[link.goaway[1]]}"
    if link.ended:
        return f"the connection ended ({link.ended}) without a word"
    one = link.streams[stream]
    if one.reset is not None:
        return f"rst {CODES[one.reset]}"
    return f"status {one.status}" if one.over and one.status != 200 else "passes"


def judge(link, wanted):
    what, _, on = wanted.partition(" @")
    stream = int(on or 1)
    probe = link.streams[http2.PROBE]
    ends = what.startswith("goaway")
    link.until(lambda: link.ended if ends else probe.over and (what == "passes" or link.streams[stream].over))
    assert outcome_of(link, stream) in what.split(" or ")
    if not ends:
        assert probe.status == 200 and bytes(probe.body) == b"ok", vars(probe)


@pytest.mark.parametrize("name", CLIENT)
def test_8_12_each_frame_of_a_client_gets_what_rfc_9113_says(scene, name):
    _, data, wanted = CLIENT[name]
    before = scene.upstream.completed.count(http2.BAD)
    link = scene.client()
    link.send(data, frames.request(http2.PROBE, "/probe"))
    judge(link, wanted)
    assert wanted == "passes" or scene.upstream.completed.count(http2.BAD) == before


@pytest.mark.parametrize("name", http2.PREFACES)
def test_8_12_who_does_not_begin_as_http_2_does_is_ended(scene, name):
    _, data, wanted = http2.PREFACES[name]
    link = scene.client(data)
    link.until(lambda: link.ended)
    assert outcome_of(link, 1) == wanted


def test_8_12_the_table_has_more_than_two_hundred_frames_and_names_each_once():
    assert len(CLIENT) == sum(len(table) for table in (http2.FRAMES, http2.HPACK, http2.FIELDS)) > 200
