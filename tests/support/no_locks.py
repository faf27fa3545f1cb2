"""A file system without locks: a library that refuses them, loaded before a process's own
(`LD_PRELOAD`).
"""

import subprocess
from pathlib import Path

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
int flock(int file, int operation) { errno = REFUSAL; return -1; }
static int refuse(int file, int command, void *argument, const char *name) {
    if (command == F_SETLK || command == F_SETLKW) { errno = REFUSAL; return -1; }
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    return real(file, command, argument);
}
#define REFUSING(name) int name(int file, int command, ...) { \\
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest); \\
    return refuse(file, command, argument, #name); }
REFUSING(fcntl)
REFUSING(fcntl64)
"""


def refusing_library(folder: Path, refusal: str) -> Path:
    """Compile the library that answers each request for a lock with this error, such as
    `ENOLCK`.
    """
    source, library = folder / f"{refusal}.c", folder / f"{refusal}.so"
    source.write_text(SOURCE, encoding="utf-8")
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        f"-DREFUSAL={refusal}",
        "-o",
        str(library),
        str(source),
        "-ldl",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return library
