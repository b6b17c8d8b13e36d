#!/usr/bin/env python3
"""Prints the rate of this host's TSC in kHz, measured by the clock: each end is the least disturbed
of many readings. x86-64 only."""
import ctypes
import mmap
import time

SPAN_S = 0.2
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl rdx, 32; or rax, rdx; ret
rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))


def reading():
    begin = time.monotonic_ns()
    ticks = rdtsc()
    end = time.monotonic_ns()
    return end - begin, end, ticks


def least_disturbed():
    return min(reading() for _ in range(200))[1:]


time0, ticks0 = least_disturbed()
time.sleep(SPAN_S)
time1, ticks1 = least_disturbed()
print(round((ticks1 - ticks0) * 1e6 / (time1 - time0)))
