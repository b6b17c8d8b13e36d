"""Makes another process call munlockall(2), as if it had lost its locks: munlockall.py PID.

By ptrace(2): the thread is stopped, its registers are set to the system call at the instruction by
which it entered the kernel, and are put back afterwards. x86-64 only.
"""
import ctypes
import os
import sys

PTRACE_PEEKTEXT, PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS = 1, 9, 12, 13
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SYS_munlockall = 152
SYSCALL_INSTRUCTION = 0x050F  # 0f 05, little endian

# linux arch/x86/include/uapi/asm/ptrace.h, struct user_regs_struct
NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
         "fs_base gs_base ds es fs gs").split()


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, address=None, data=None):
    ctypes.set_errno(0)
    result = libc.ptrace(request, pid, address, data)
    if result == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}: {os.strerror(ctypes.get_errno())}")
    return result


def main():
    pid = int(sys.argv[1])
    ptrace(PTRACE_ATTACH, pid)
    os.waitpid(pid, 0x40000000)  # __WALL
    try:
        old = Registers()
        ptrace(PTRACE_GETREGS, pid, None, ctypes.byref(old))
        at = old.rip - 2
        if ptrace(PTRACE_PEEKTEXT, pid, at) & 0xFFFF != SYSCALL_INSTRUCTION:
            raise SystemExit("the thread was not in a system call: try again")
        call = Registers.from_buffer_copy(old)
        call.rax, call.rip = SYS_munlockall, at
        call.orig_rax = 2**64 - 1  # the call that we interrupted is not restarted here
        ptrace(PTRACE_SETREGS, pid, None, ctypes.byref(call))
        ptrace(PTRACE_SINGLESTEP, pid)
        os.waitpid(pid, 0x40000000)
        after = Registers()
        ptrace(PTRACE_GETREGS, pid, None, ctypes.byref(after))
        ptrace(PTRACE_SETREGS, pid, None, ctypes.byref(old))
        if after.rax:
            raise SystemExit(f"munlockall: {os.strerror(2**64 - after.rax)}")
    finally:
        ptrace(PTRACE_DETACH, pid)


main()
