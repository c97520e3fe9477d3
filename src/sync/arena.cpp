// SPDX-License-Identifier: Apache-2.0
#include "sync/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "sync/free_ranges.hpp"

#ifndef TASKWORK_VERSION
#define TASKWORK_VERSION "0.1.0"
#endif

namespace taskwork::sync {

namespace {

constexpr std::size_t kPage = 4096;
/// The arena grows by this much at a time, so that one fallocate serves many allocations.
constexpr std::size_t kCommitStep = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t value, std::size_t unit) {
    return (value + unit - 1) / unit * unit;
}

/// This process's view. Set once at start; a forked child inherits it (the mapping is shared).
struct View {
    ArenaHeader* header = nullptr;
    std::size_t mapped = 0;
    int descriptor = -1;
};
View view;

/// The host's own book of the arena's space.
struct Space {
    std::mutex lock;
    std::size_t used = 0;       ///< Everything below was handed out at some time.
    std::size_t committed = 0;  ///< Everything below is backed by memory.
    FreeRanges free;            ///< Given back.
};
/// Never destroyed: threads may allocate until the process ends.
Space*& space_of_process() {
    static Space* instance = new Space;
    return instance;
}
Space& space() { return *space_of_process(); }

/// fallocate for [0, end) as far as not done. tmpfs full, a memory limit or RLIMIT_FSIZE is an
/// errno here instead of a signal at first touch.
std::errc commit(Space& book, std::size_t end) {
    if (end <= book.committed) {
        return no_error;
    }
    const std::size_t target = std::min(round_up(end, kCommitStep), view.mapped);
    if (view.descriptor < 0) {
        book.committed = target;  // Private memory: the kernel has promised it with the mapping.
        return no_error;
    }
    for (;;) {
        if (::fallocate(view.descriptor, 0, static_cast<off_t>(book.committed),
                        static_cast<off_t>(target - book.committed)) == 0) {
            book.committed = target;
            return no_error;
        }
        if (errno != EINTR) {
            return last_errc();
        }
    }
}

Error failure(std::errc code, std::string text) { return Error{code, std::move(text)}; }

/// Who sits at the arena's address, for the message.
std::string occupant() {
    std::string found = "another mapping";
    FILE* maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) {
        return found;
    }
    char line[512];
    while (std::fgets(line, sizeof(line), maps) != nullptr) {
        unsigned long begin = 0;
        unsigned long end = 0;
        if (std::sscanf(line, "%lx-%lx", &begin, &end) == 2 && end > kArenaBase &&
            begin < kArenaBase + view.mapped) {
            line[std::strcspn(line, "\n")] = '\0';
            found = line;
            break;
        }
    }
    std::fclose(maps);
    return found;
}

/// Device and inode of this process's pid namespace; zeros where /proc does not say.
void pid_namespace(std::uint64_t (&name)[2]) noexcept {
    struct stat status{};
    const bool known = ::stat("/proc/self/ns/pid", &status) == 0;
    name[0] = known ? status.st_dev : 0;
    name[1] = known ? status.st_ino : 0;
}

void* map_at_base(int fd, std::size_t size) noexcept {
    return ::mmap(reinterpret_cast<void*>(kArenaBase), size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0);
}

/// The host's part once its arena is mapped: book and header.
TW_TASK_ONLY Result<void> begin(void* base) {
    view.header = static_cast<ArenaHeader*>(base);
    Space& book = space();
    book.free.clear();
    book.used = round_up(sizeof(ArenaHeader), kPage);
    book.committed = 0;
    if (const std::errc code = commit(book, book.used); code != no_error) {
        Arena::destroy();
        return failure(code, std::string("arena: no memory to commit: ") +
                                 std::strerror(static_cast<int>(code)));
    }
    ArenaHeader& header = *new (view.header) ArenaHeader{};
    header.abi = kArenaAbi;
    std::strncpy(header.version, TASKWORK_VERSION, sizeof(header.version) - 1);
    if (::getrandom(&header.cookie, sizeof(header.cookie), 0) !=
        static_cast<ssize_t>(sizeof(header.cookie))) {
        header.cookie = platform::now_ns();
    }
    header.size = view.mapped;
    header.host_pid = platform::process_id();
    pid_namespace(header.pid_namespace);
    header.magic = kArenaMagic;
    return {};
}

}  // namespace

Result<void> Arena::create(std::size_t size) {
    if (present()) {
        return failure(std::errc::operation_not_permitted, "arena: this process has one already");
    }
    size = round_up(size, kCommitStep);
    if (size == 0 || size > kArenaSizeMax) {
        return failure(std::errc::invalid_argument, "arena: size " + std::to_string(size) +
                                                        " is not in 1.." +
                                                        std::to_string(kArenaSizeMax));
    }
    // ftruncate beyond RLIMIT_FSIZE raises SIGXFSZ, so the limit is asked first.
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < size) {
        return failure(std::errc::file_too_large, "arena: the file-size limit (ulimit -f) of " +
                                                      std::to_string(limit.rlim_cur) +
                                                      " bytes is below the arena's " +
                                                      std::to_string(size));
    }
    const int fd = ::memfd_create("taskwork-arena", MFD_CLOEXEC);
    if (fd < 0) {
        return failure(last_errc(), std::string("arena: memfd_create: ") + std::strerror(errno));
    }
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) {
        Error error =
            failure(last_errc(), std::string("arena: ftruncate: ") + std::strerror(errno));
        ::close(fd);
        return error;
    }
    view.mapped = size;
    void* base = map_at_base(fd, size);
    if (base == MAP_FAILED || base != reinterpret_cast<void*>(kArenaBase)) {
        const std::errc code = base == MAP_FAILED ? last_errc() : std::errc::file_exists;
        if (base != MAP_FAILED) {
            ::munmap(base, size);
        }
        std::string text = "arena: ";
        if (code == std::errc::file_exists) {
            text += "the address 0x200000000000 is taken by " + occupant();
        } else if (code == std::errc::not_enough_memory) {
            text += "no address space for " + std::to_string(size) +
                    " bytes (ulimit -v, vm.max_map_count)";
        } else {
            text += std::string("mmap: ") + std::strerror(static_cast<int>(code));
        }
        ::close(fd);
        view = View{};
        return failure(code, std::move(text));
    }
    view.descriptor = fd;
    return begin(base);
}

Result<void> Arena::create_private(std::size_t size) {
    if (present()) {
        return failure(std::errc::operation_not_permitted, "arena: this process has one already");
    }
    size = round_up(size, kCommitStep);
    if (size == 0 || size > kArenaSizeMax) {
        return failure(std::errc::invalid_argument,
                       "arena: size " + std::to_string(size) + " is out of range");
    }
    void* base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return failure(std::errc::not_enough_memory,
                       std::string("arena: mmap: ") + std::strerror(errno));
    }
    view.mapped = size;
    view.descriptor = -1;
    detail::arena_base = reinterpret_cast<std::uintptr_t>(base);
    return begin(base);
}

void Arena::abandon() noexcept {
    // Its lock may be held by a thread that the child does not have.
    space_of_process() = new Space;
    destroy();
}

std::errc Arena::join(int fd, std::uint64_t cookie) noexcept {
    if (present()) {
        return std::errc::operation_not_permitted;
    }
    struct stat status{};
    if (::fstat(fd, &status) != 0) {
        return last_errc();
    }
    if (status.st_size < static_cast<off_t>(kPage) ||
        status.st_size > static_cast<off_t>(kArenaSizeMax)) {
        return std::errc::no_such_device_or_address;
    }
    ArenaHeader seen{};
    if (::pread(fd, static_cast<void*>(&seen), sizeof(seen), 0) !=
            static_cast<ssize_t>(sizeof(seen)) ||
        seen.magic != kArenaMagic || seen.cookie != cookie) {
        return std::errc::no_such_device_or_address;
    }
    if (seen.abi != kArenaAbi ||
        std::strncmp(seen.version, TASKWORK_VERSION, sizeof(seen.version))) {
        return std::errc::wrong_protocol_type;
    }
    // What lies behind the arena in the file belongs to a layer above.
    const std::size_t size = seen.size;
    if (size > static_cast<std::size_t>(status.st_size)) {
        return std::errc::no_such_device_or_address;
    }
    void* base = map_at_base(fd, size);
    if (base == MAP_FAILED) {
        return last_errc();
    }
    if (base != reinterpret_cast<void*>(kArenaBase)) {
        ::munmap(base, size);
        return std::errc::file_exists;
    }
    view.header = static_cast<ArenaHeader*>(base);
    view.mapped = size;
    view.descriptor = -1;
    return no_error;
}

void Arena::destroy() noexcept {
    if (view.mapped != 0) {
        ::munmap(reinterpret_cast<void*>(detail::arena_base), view.mapped);
    }
    detail::arena_base = kArenaBase;
    if (view.descriptor >= 0) {
        ::close(view.descriptor);
    }
    view = View{};
}

bool Arena::same_pid_namespace() noexcept {
    std::uint64_t ours[2];
    pid_namespace(ours);
    return ours[0] == view.header->pid_namespace[0] && ours[1] == view.header->pid_namespace[1];
}

bool Arena::present() noexcept { return view.header != nullptr; }

bool Arena::is_host() noexcept {
    return present() && view.header->host_pid == platform::process_id();
}

int Arena::descriptor() noexcept { return view.descriptor; }

void* Arena::allocate(std::size_t size, std::size_t align, std::errc* why) noexcept {
    std::errc ignored{};
    std::errc& reason = why == nullptr ? ignored : *why;
    if (!is_host() || size == 0 || size > view.mapped) {
        reason = std::errc::not_enough_memory;
        return nullptr;
    }
    size = round_up(size, 64);
    align = std::max<std::size_t>(align, 64);
    Space& book = space();
    const std::scoped_lock guard(book.lock);
    if (const auto at = book.free.take(size, align)) {
        std::memset(reinterpret_cast<void*>(*at), 0, size);
        return reinterpret_cast<void*>(*at);
    }
    const std::size_t offset = round_up(book.used, align);
    if (offset + size > view.mapped) {
        reason = std::errc::not_enough_memory;
        return nullptr;
    }
    if (const std::errc error = commit(book, offset + size); error != no_error) {
        reason = error;
        return nullptr;
    }
    if (offset > book.used) {
        book.free.give(detail::arena_base + book.used, offset - book.used);
    }
    book.used = offset + size;
    view.header->committed.store(book.used, std::memory_order_relaxed);
    return reinterpret_cast<void*>(detail::arena_base + offset);
}

void Arena::release(void* memory, std::size_t size) noexcept {
    if (memory == nullptr || size == 0) {
        return;
    }
    Space& book = space();
    const std::scoped_lock guard(book.lock);
    book.free.give(reinterpret_cast<std::uintptr_t>(memory), round_up(size, 64));
}

bool Arena::contains(std::uintptr_t address, std::size_t size) noexcept {
    return address >= detail::arena_base && size <= view.mapped &&
           address - detail::arena_base <= view.mapped - size;
}

}  // namespace taskwork::sync
