/* The library's half of the table and of the policy, for app/cmd/trap.h: the same sources, with this program's flags.
 */
#include "preload/decide.c"
#include "preload/shared.c"
