// Runs a program, and sends it a log-off, which it must survive, and then Ctrl-C.
#include "run.h"
#include <stdio.h>

static const DWORD LOGOFF = CTRL_LOGOFF_EVENT;

// As the console does it: by a thread in the program. System DLLs lie at the same
// address in every program.
static void send_logoff(HANDLE program) {
    void *routine = (void *)GetProcAddress(GetModuleHandleW(L"kernelbase"), "CtrlRoutine");
    HANDLE thread = routine ? CreateRemoteThread(program, NULL, 0, routine, (void *)(UINT_PTR)LOGOFF, 0, NULL) : NULL;
    if (!thread) ExitProcess(3);
}

int wmain(void) {
    HANDLE program = run(0);
    Sleep(5000);
    send_logoff(program);
    if (WaitForSingleObject(program, 3000) != WAIT_TIMEOUT) {
        fputs("a log-off ended the program\n", stderr);
        return 4;
    }
    // Not before the start: the program would inherit it.
    SetConsoleCtrlHandler(NULL, TRUE);
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) return 5;
    return wait_for(program);
}
