// Starts the rest of the command line, with these standard handles.
#include <wchar.h>
#include <windows.h>

static HANDLE run(DWORD flags) {
    wchar_t *line = GetCommandLineW();
    wchar_t end = *line == L'"' ? L'"' : L' ';
    line = wcschr(line + 1, end);
    if (!line) ExitProcess(2);
    line += 1 + wcsspn(line + 1, L" ");
    STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION started;
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, flags, NULL, NULL, &start, &started))
        ExitProcess(2);
    return started.hProcess;
}

static int wait_for(HANDLE program) {
    DWORD code = 2;
    WaitForSingleObject(program, INFINITE);
    GetExitCodeProcess(program, &code);
    return (int)code;
}
