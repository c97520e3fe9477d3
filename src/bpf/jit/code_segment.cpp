// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/code_segment.hpp"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/errc.hpp"
#include "bpf/jit/code_region.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf::jit {

namespace {

constexpr std::uintptr_t kPage = 4096;

/// What stands behind the arena in its file.
struct Note {
    std::uint64_t cookie;
    std::int64_t id;
};
/// At the region's beginning. Ids are those of an IPC namespace.
struct Head {
    std::uint64_t cookie;
};
static_assert(sizeof(Head) <= CodeSegment::kHeadBytes);

constinit int segment = -1;

/// The region, writable, as long as this lives.
class Window {
public:
    Window() noexcept : memory_(::shmat(segment, nullptr, 0)) {}
    ~Window() {
        if (is_there()) {
            ::shmdt(memory_);
        }
    }
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;

    [[nodiscard]] bool is_there() const noexcept { return memory_ != reinterpret_cast<void*>(-1); }
    [[nodiscard]] std::byte* at(std::uintptr_t address) const noexcept {
        return static_cast<std::byte*>(memory_) + (address - CodeRegion::kBase);
    }

private:
    void* memory_;
};

TW_TASK_ONLY std::errc map_executable(int id) noexcept {
    void* const base = reinterpret_cast<void*>(CodeRegion::kBase);
    return ::shmat(id, base, SHM_RDONLY | SHM_EXEC) == base ? no_error : last_errc();
}

void unmap() noexcept { ::shmdt(reinterpret_cast<void*>(CodeRegion::kBase)); }

/// A new one, mapped executable.
TW_TASK_ONLY std::errc take(int& id) noexcept {
    constexpr int owner_alone = 0700;
    id = ::shmget(IPC_PRIVATE, CodeRegion::kBytes, IPC_CREAT | SHM_NORESERVE | owner_alone);
    if (id < 0) {
        return last_errc();
    }
    const std::errc error = map_executable(id);
    // From here on it goes with its mappings. Others can map it all the same.
    ::shmctl(id, IPC_RMID, nullptr);
    return error;
}

}  // namespace

std::errc CodeSegment::probe() noexcept {
    int id = -1;
    const std::errc error = take(id);
    if (error == no_error) {
        unmap();
    }
    return error;
}

std::errc CodeSegment::create(int arena_fd) noexcept {
    std::errc error = take(segment);
    if (error == no_error) {
        const Head head{sync::Arena::header().cookie};
        const Note note{head.cookie, segment};
        if (!write(CodeRegion::kBase, &head, sizeof(head))) {
            error = std::errc::not_enough_memory;
        } else if (::pwrite(arena_fd, &note, sizeof(note),
                            static_cast<off_t>(sync::Arena::header().size)) !=
                   static_cast<ssize_t>(sizeof(note))) {
            error = last_errc();
        }
        if (error != no_error) {
            unmap();
        }
    }
    if (error != no_error) {
        segment = -1;
    }
    return error;
}

std::errc CodeSegment::map(int arena_fd) noexcept {
    const sync::ArenaHeader& arena = sync::Arena::header();
    Note note{};
    if (::pread(arena_fd, &note, sizeof(note), static_cast<off_t>(arena.size)) !=
            static_cast<ssize_t>(sizeof(note)) ||
        note.cookie != arena.cookie) {
        return std::errc::no_such_device_or_address;
    }
    // Another namespace's segment of this number may be anybody's, of any size.
    shmid_ds status{};
    if (::shmctl(static_cast<int>(note.id), IPC_STAT, &status) != 0 ||
        status.shm_segsz != CodeRegion::kBytes) {
        return std::errc::no_such_device_or_address;
    }
    if (const std::errc error = map_executable(static_cast<int>(note.id)); error != no_error) {
        return error;
    }
    if (reinterpret_cast<const Head*>(CodeRegion::kBase)->cookie != arena.cookie) {
        unmap();
        return std::errc::no_such_device_or_address;
    }
    return no_error;
}

bool CodeSegment::exists() noexcept { return segment >= 0; }

void CodeSegment::forget() noexcept { segment = -1; }

bool CodeSegment::write(std::uintptr_t address, const void* code, std::size_t size) noexcept {
    const Window window;
    if (!window.is_there()) {
        return false;
    }
#ifdef MADV_POPULATE_WRITE
    // Without memory this is an error, where a store would be a signal. Before Linux 5.14 it is
    // unknown.
    const std::uintptr_t begin = address & ~(kPage - 1);
    if (::madvise(window.at(begin), address + size - begin, MADV_POPULATE_WRITE) != 0 &&
        errno != EINVAL) {
        return false;
    }
#endif
    std::memcpy(window.at(address), code, size);
    return true;
}

void CodeSegment::give_back(std::uintptr_t address, std::size_t size) noexcept {
    const std::uintptr_t begin = (address + kPage - 1) & ~(kPage - 1);
    const std::uintptr_t end = (address + size) & ~(kPage - 1);
    const Window window;
    if (begin < end && window.is_there()) {
        ::madvise(window.at(begin), end - begin, MADV_REMOVE);
    }
}

}  // namespace taskwork::bpf::jit
