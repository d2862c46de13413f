// Runs a program in a console of its own that nobody sees.
#include "run.h"

int wmain(void) {
    return wait_for(run(CREATE_NO_WINDOW));
}
