// SPDX-License-Identifier: Apache-2.0
//
// The seam: what a program linked with --wrap (wrap_symbols.cmake) calls in place of libc. Each
// looks whether the call concerns one of our descriptors, or our kernel BTF, and is libc's own
// otherwise. All calls of such a program come through here, those of our other layers and of
// handlers too: what does not concern us passes through without a lock and without a change of
// errno.
//
// This file alone refers to __real_<name>, so the rest of the layer can be linked without --wrap.
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "bpf/program.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/mapping.hpp"
#include "uapi/perf_event.hpp"
#include "uapi/ring_poll.hpp"
#include "uapi/uapi.hpp"

extern "C" {
long __real_syscall(long number, ...);
int __real_ioctl(int descriptor, unsigned long request, ...);
void* __real_mmap(void* address, size_t size, int protection, int flags, int descriptor,
                  off_t offset);
int __real_munmap(void* address, size_t size);
int __real_close(int descriptor);
int __real_close_range(unsigned first, unsigned last, int flags);
void __real_closefrom(int first);
int __real_dup(int descriptor);
int __real_dup2(int old_descriptor, int new_descriptor);
int __real_dup3(int old_descriptor, int new_descriptor, int flags);
int __real_fcntl(int descriptor, int command, ...);
FILE* __real_fopen(const char* path, const char* mode);
int __real_open(const char* path, int flags, ...);
int __real_faccessat(int directory, const char* path, int mode, int flags);
int __real_access(const char* path, int mode);
int __real_epoll_wait(int descriptor, epoll_event* events, int count, int timeout_ms);
int __real_epoll_pwait(int descriptor, epoll_event* events, int count, int timeout_ms,
                       const sigset_t* mask);
int __real_poll(pollfd* descriptors, nfds_t count, int timeout_ms);
int __real_ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout, const sigset_t* mask);
}

namespace {

using namespace taskwork;

constexpr char kKernelBtfPath[] = "/sys/kernel/btf/vmlinux";

/// libc's convention for a result or negative errno.
long answer(long result) {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return -1;
    }
    return result;
}

bool is_kernel_btf(const char* path) {
    return path != nullptr && std::strcmp(path, kKernelBtfPath) == 0;
}

/// A file that reads as our kernel BTF. Negative errno on failure.
int open_kernel_btf() {
    const bpf::Bytes bytes = bpf::kernel_btf();
    const int descriptor = memfd_create("vmlinux", MFD_CLOEXEC);
    if (descriptor < 0) {
        return -errno;
    }
    const auto* data = static_cast<const char*>(bytes.data);
    std::size_t written = 0;
    while (written < bytes.size) {
        const ssize_t size = write(descriptor, data + written, bytes.size - written);
        if (size <= 0) {
            const int error = errno;
            __real_close(descriptor);
            return -error;
        }
        written += static_cast<std::size_t>(size);
    }
    lseek(descriptor, 0, SEEK_SET);
    return descriptor;
}

/// What a dup has made is ours if its original is.
int duplicated(int old_descriptor, int new_descriptor) {
    if (new_descriptor >= 0 &&
        (uapi::may_be_ours(old_descriptor) || uapi::may_be_ours(new_descriptor))) {
        uapi::follow_dup(old_descriptor, new_descriptor);
    }
    return new_descriptor;
}

}  // namespace

extern "C" {

// The sixth argument is read from the caller's stack whether or not it was passed, as libc does.
__attribute__((no_sanitize_address)) long __wrap_syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long arguments[6];
    for (long& argument : arguments) {
        argument = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_bpf) {
        return answer(uapi::bpf(static_cast<int>(arguments[0]),
                                reinterpret_cast<union bpf_attr*>(arguments[1]),
                                static_cast<unsigned>(arguments[2])));
    }
    if (number == SYS_perf_event_open) {
        return answer(uapi::perf_event_open(
            static_cast<std::uint64_t>(arguments[0]), static_cast<std::int32_t>(arguments[1]),
            static_cast<std::int32_t>(arguments[2]), static_cast<std::int32_t>(arguments[3]),
            static_cast<std::uint64_t>(arguments[4])));
    }
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
}

int __wrap_ioctl(int descriptor, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    const unsigned long argument = va_arg(list, unsigned long);
    va_end(list);
    if (uapi::may_be_ours(descriptor)) {
        int error = 0;
        if (const auto event = uapi::object_as<uapi::PerfEvent>(descriptor, error);
            event != nullptr) {
            return static_cast<int>(answer(uapi::perf_event_ioctl(*event, request, argument)));
        }
    }
    return __real_ioctl(descriptor, request, argument);
}

void* __wrap_mmap(void* address, size_t size, int protection, int flags, int descriptor,
                  off_t offset) {
    if ((flags & MAP_ANONYMOUS) == 0 && uapi::may_be_ours(descriptor)) {
        if (const auto object = uapi::object_of(descriptor); object != nullptr) {
            if (object->kind() == uapi::Object::Kind::perf_event) {
                return reinterpret_cast<void*>(
                    answer(static_cast<uapi::PerfEvent&>(*object).pages().map(
                        address, size, protection, flags, offset)));
            }
            if (object->kind() != uapi::Object::Kind::map) {
                errno = ENODEV;
                return MAP_FAILED;
            }
            return reinterpret_cast<void*>(
                answer(uapi::map_object(static_cast<const uapi::MapObject&>(*object), address, size,
                                        protection, flags, offset)));
        }
    }
    void* mapped = __real_mmap(address, size, protection, flags, descriptor, offset);
    if ((flags & MAP_FIXED) != 0 && mapped != MAP_FAILED && uapi::any_mapped()) {
        uapi::follow_unmap(mapped, size);
    }
    return mapped;
}

void* __wrap_mmap64(void* address, size_t size, int protection, int flags, int descriptor,
                    off_t offset) {
    return __wrap_mmap(address, size, protection, flags, descriptor, offset);
}

int __wrap_munmap(void* address, size_t size) {
    // Before: as soon as the range is free another thread may map something there.
    if (uapi::any_mapped() && uapi::may_unmap(address, size)) {
        uapi::follow_unmap(address, size);
    }
    return __real_munmap(address, size);
}

int __wrap_close(int descriptor) {
    if (uapi::may_be_ours(descriptor)) {
        uapi::forget_descriptor(descriptor);
    }
    return __real_close(descriptor);
}

int __wrap_close_range(unsigned first, unsigned last, int flags) {
    if (flags == 0) {
        uapi::forget_descriptors(first, last);
    }
    return __real_close_range(first, last, flags);
}

void __wrap_closefrom(int first) {
    uapi::forget_descriptors(static_cast<unsigned>(std::max(first, 0)), UINT_MAX);
    __real_closefrom(first);
}

int __wrap_dup(int descriptor) { return duplicated(descriptor, __real_dup(descriptor)); }

int __wrap_dup2(int old_descriptor, int new_descriptor) {
    return duplicated(old_descriptor, __real_dup2(old_descriptor, new_descriptor));
}

int __wrap_dup3(int old_descriptor, int new_descriptor, int flags) {
    return duplicated(old_descriptor, __real_dup3(old_descriptor, new_descriptor, flags));
}

int __wrap_fcntl(int descriptor, int command, ...) {
    va_list list;
    va_start(list, command);
    const long argument = va_arg(list, long);
    va_end(list);
    const int result = __real_fcntl(descriptor, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(descriptor, result)
                                                            : result;
}

int __wrap_fcntl64(int descriptor, int command, ...) {
    va_list list;
    va_start(list, command);
    const long argument = va_arg(list, long);
    va_end(list);
    return __wrap_fcntl(descriptor, command, argument);
}

FILE* __wrap_fopen(const char* path, const char* mode) {
    if (!is_kernel_btf(path)) {
        return __real_fopen(path, mode);
    }
    const int descriptor = static_cast<int>(answer(open_kernel_btf()));
    return descriptor < 0 ? nullptr : fdopen(descriptor, "r");
}

FILE* __wrap_fopen64(const char* path, const char* mode) { return __wrap_fopen(path, mode); }

int __wrap_open(const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    if (is_kernel_btf(path)) {
        return static_cast<int>(
            answer((flags & O_ACCMODE) == O_RDONLY ? open_kernel_btf() : -EACCES));
    }
    return __real_open(path, flags, mode);
}

int __wrap_open64(const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return __wrap_open(path, flags, mode);
}

int __wrap_faccessat(int directory, const char* path, int mode, int flags) {
    if (is_kernel_btf(path)) {
        return static_cast<int>(answer((mode & (W_OK | X_OK)) == 0 ? 0 : -EACCES));
    }
    return __real_faccessat(directory, path, mode, flags);
}

int __wrap_access(const char* path, int mode) {
    return is_kernel_btf(path) ? __wrap_faccessat(AT_FDCWD, path, mode, 0)
                               : __real_access(path, mode);
}

int __wrap_epoll_wait(int descriptor, epoll_event* events, int count, int timeout_ms) {
    uapi::settle_rings();
    return __real_epoll_wait(descriptor, events, count, timeout_ms);
}

int __wrap_epoll_pwait(int descriptor, epoll_event* events, int count, int timeout_ms,
                       const sigset_t* mask) {
    uapi::settle_rings();
    return __real_epoll_pwait(descriptor, events, count, timeout_ms, mask);
}

int __wrap_poll(pollfd* descriptors, nfds_t count, int timeout_ms) {
    uapi::settle_rings();
    return __real_poll(descriptors, count, timeout_ms);
}

int __wrap_ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    uapi::settle_rings();
    return __real_ppoll(descriptors, count, timeout, mask);
}

}  // extern "C"
