// Runs a program in a console of its own, which has no window.
#include "run.h"

int wmain(void) {
    return wait_for(run(CREATE_NO_WINDOW));
}
