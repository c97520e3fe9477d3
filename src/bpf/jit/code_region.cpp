// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/code_region.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>

#include "base/errc.hpp"
#include "base/sanitizers.hpp"
#include "bpf/jit/code_segment.hpp"
#include "bpf/jit/processor.hpp"
#include "bpf/jit/switches.hpp"
#include "bpf/jit/unwind.hpp"
#include "sync/free_ranges.hpp"

namespace taskwork::bpf::jit {

namespace {

constexpr std::size_t kUnit = 64;

/// Once at the start, or while nobody runs anything.
constinit bool is_mapped = false;
constinit std::errc no_segment = no_error;

/// The host's own book.
struct Book {
    std::mutex lock;
    sync::FreeRanges free;
};
/// Never destroyed: the worker may outlive main's statics.
Book& book() {
    static auto* instance = new Book;
    return *instance;
}

constexpr std::size_t in_units(std::size_t size) { return (size + kUnit - 1) / kUnit * kUnit; }

/// Where it begins in the file: the arena ends there.
off_t file_offset(std::uintptr_t address) noexcept {
    return static_cast<off_t>(sync::Arena::header().size + (address - CodeRegion::kBase));
}

/// The executable mapping is there, of the one kind or the other.
TW_TASK_ONLY void begin_to_use() noexcept {
    ::madvise(reinterpret_cast<void*>(CodeRegion::kBase), CodeRegion::kBytes, MADV_DONTDUMP);
    is_mapped = true;
    register_frames();
}

TW_TASK_ONLY std::errc map_executable(int fd) noexcept {
    void* const base = reinterpret_cast<void*>(CodeRegion::kBase);
    void* const mapped = ::mmap(base, CodeRegion::kBytes, PROT_READ | PROT_EXEC,
                                MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd,
                                file_offset(CodeRegion::kBase));
    if (mapped == MAP_FAILED) {
        return last_errc();
    }
    if (mapped != base) {
        ::munmap(mapped, CodeRegion::kBytes);
        return std::errc::file_exists;
    }
    begin_to_use();
    return no_error;
}

void begin_book(std::uintptr_t base, std::size_t bytes) {
    Book& space = book();
    const std::scoped_lock guard(space.lock);
    space.free.clear();
    space.free.give(base, bytes);
}

}  // namespace

const char* CodeRegion::why_unwanted() noexcept {
    if (!kProcessor.has_translator) {
        return "there is no translator for this processor";
    }
    if (kThreadSanitizer) {
        return "this build is one of ThreadSanitizer";
    }
    return is_on(Switch::jit) ? nullptr : "TASKWORK_JIT=off";
}

std::errc CodeRegion::create() noexcept {
    unmap();
    CodeSegment::forget();
    no_segment = no_error;
    if (why_unwanted() != nullptr) {
        return std::errc::operation_canceled;
    }
    const int fd = sync::Arena::descriptor();
    if (fd < 0) {
        return std::errc::not_supported;
    }
    const auto end = static_cast<rlim_t>(file_offset(kBase + kBytes));
    // ftruncate beyond the limit raises SIGXFSZ.
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < end) {
        return std::errc::file_too_large;
    }
    if (is_on(Switch::perf_map)) {
        no_segment = CodeSegment::create(fd);
        if (no_segment == no_error) {
            begin_to_use();
            begin_book(kBase + CodeSegment::kHeadBytes, kBytes - CodeSegment::kHeadBytes);
            return no_error;
        }
    }
    if (::ftruncate(fd, static_cast<off_t>(end)) != 0) {
        return last_errc();
    }
    if (const std::errc error = map_executable(fd); error != no_error) {
        // Members see by the length that there is none.
        static_cast<void>(::ftruncate(fd, file_offset(kBase)));
        return error;
    }
    begin_book(kBase, kBytes);
    return no_error;
}

std::errc CodeRegion::map(int arena_fd) noexcept {
    unmap();
    struct stat status{};
    if (why_unwanted() != nullptr) {
        return std::errc::operation_canceled;
    }
    if (::fstat(arena_fd, &status) != 0) {
        return last_errc();
    }
    if (status.st_size >= file_offset(kBase + kBytes)) {
        return map_executable(arena_fd);
    }
    const std::errc error = CodeSegment::map(arena_fd);
    if (error == no_error) {
        begin_to_use();
    }
    return error;
}

void CodeRegion::unmap() noexcept {
    if (is_mapped) {
        is_mapped = false;
        ::munmap(reinterpret_cast<void*>(kBase), kBytes);
    }
}

bool CodeRegion::usable() noexcept { return is_mapped; }

std::errc CodeRegion::why_nameless() noexcept { return is_mapped ? no_segment : no_error; }

const std::byte* CodeRegion::place(const void* code, std::size_t size) noexcept {
    if (!is_mapped || !sync::Arena::is_host()) {
        return nullptr;
    }
    const std::size_t bytes = in_units(size);
    Book& space = book();
    const std::scoped_lock guard(space.lock);
    const auto at = space.free.take(bytes, kUnit);
    if (!at) {
        return nullptr;
    }
    // Without memory this is an error, where a store to a mapping would be a signal.
    const bool written = CodeSegment::exists()
                             ? CodeSegment::write(*at, code, size)
                             : ::pwrite(sync::Arena::descriptor(), code, size, file_offset(*at)) ==
                                   static_cast<ssize_t>(size);
    if (!written) {
        space.free.give(*at, bytes);
        return nullptr;
    }
    return reinterpret_cast<const std::byte*>(*at);
}

void CodeRegion::release(const std::byte* code, std::size_t size) noexcept {
    const std::size_t bytes = in_units(size);
    Book& space = book();
    const std::scoped_lock guard(space.lock);
    const auto at = reinterpret_cast<std::uintptr_t>(code);
    if (CodeSegment::exists()) {
        CodeSegment::give_back(at, bytes);
    } else {
        ::fallocate(sync::Arena::descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    file_offset(at), static_cast<off_t>(bytes));
    }
    space.free.give(at, bytes);
}

}  // namespace taskwork::bpf::jit
