// SPDX-License-Identifier: Apache-2.0
#include "uapi/user_memory.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace taskwork::uapi {
namespace {

constexpr std::uint64_t kPageSize = 4096;

using Transfer = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*, unsigned long,
                             unsigned long);

/// All or nothing, as the caller sees it; `own` is trusted.
std::errc transfer(Transfer function, void* own, std::uint64_t user, std::size_t size) {
    const iovec local{own, size};
    const iovec remote{reinterpret_cast<void*>(user), size};
    const ssize_t done = function(getpid(), &local, 1, &remote, 1, 0);
    if (done == static_cast<ssize_t>(size)) {
        return no_error;
    }
    if (done < 0 && errno != EFAULT) {             // a seccomp profile refuses with what it likes
        return std::errc::function_not_supported;  // the caller falls back
    }
    return std::errc::bad_address;
}

}  // namespace

std::errc copy_from_user(void* to, std::uint64_t from, std::size_t size) noexcept {
    if (size == 0) {
        return no_error;
    }
    const std::errc error = transfer(process_vm_readv, to, from, size);
    if (error == std::errc::function_not_supported && from >= kPageSize) {
        std::memcpy(to, reinterpret_cast<const void*>(from), size);
        return no_error;
    }
    return error == no_error ? no_error : std::errc::bad_address;
}

std::errc copy_to_user(std::uint64_t to, const void* from, std::size_t size) noexcept {
    if (size == 0) {
        return no_error;
    }
    const std::errc error = transfer(process_vm_writev, const_cast<void*>(from), to, size);
    if (error == std::errc::function_not_supported && to >= kPageSize) {
        std::memcpy(reinterpret_cast<void*>(to), from, size);
        return no_error;
    }
    return error == no_error ? no_error : std::errc::bad_address;
}

std::errc copy_string_from_user(std::string& to, std::uint64_t from, std::size_t size_max) {
    to.clear();
    while (to.size() + 1 < size_max) {
        // Piece by piece to the end of a page: what follows the terminator need not be mapped.
        char piece[256];
        const std::size_t to_page_end = kPageSize - (from + to.size()) % kPageSize;
        const std::size_t size = std::min({sizeof piece, to_page_end, size_max - 1 - to.size()});
        if (const std::errc error = copy_from_user(piece, from + to.size(), size);
            error != no_error) {
            return error;
        }
        const std::size_t length = strnlen(piece, size);
        to.append(piece, length);
        if (length < size) {
            break;
        }
    }
    return no_error;
}

}  // namespace taskwork::uapi
