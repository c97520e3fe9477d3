// SPDX-License-Identifier: Apache-2.0
#include "uapi/descriptors.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "sync/arena.hpp"

namespace taskwork::uapi {
namespace {

/// Numbers below this have a bit each; those above are looked up under the lock.
constexpr int kHintedMax = 65536;
std::atomic<std::uint64_t> hints[kHintedMax / 64];

struct Entry {
    std::shared_ptr<Object> object;
    dev_t device;
    ino_t inode;  ///< Unique for a memfd; shared by all eventfds, which still tells most mix-ups.
};

struct Table {
    std::mutex lock;
    std::map<int, Entry> entries;
};

// Never destroyed: descriptors may be closed while the process exits.
Table& table() {
    static auto* instance = new Table;
    return *instance;
}

bool is_host() noexcept { return sync::Arena::present() && sync::Arena::is_host(); }

void set_hint(int descriptor, bool ours) noexcept {
    if (descriptor >= kHintedMax) {
        return;
    }
    const std::uint64_t bit = std::uint64_t{1} << (descriptor % 64);
    if (ours) {
        hints[descriptor / 64].fetch_or(bit, std::memory_order_release);
    } else {
        hints[descriptor / 64].fetch_and(~bit, std::memory_order_release);
    }
}

/// Puts an entry in place of a possible older one, which it returns: destroyed by the caller when
/// the lock is gone, since that may run anything.
std::shared_ptr<Object> replace(Table& all, int descriptor, Entry entry) {
    set_hint(descriptor, true);
    std::shared_ptr<Object> old = std::exchange(all.entries[descriptor].object, nullptr);
    all.entries[descriptor] = std::move(entry);
    return old;
}

std::shared_ptr<Object> erase(Table& all, int descriptor) {
    const auto found = all.entries.find(descriptor);
    if (found == all.entries.end()) {
        return nullptr;
    }
    std::shared_ptr<Object> old = std::move(found->second.object);
    all.entries.erase(found);
    set_hint(descriptor, false);
    return old;
}

}  // namespace

int install_descriptor(std::shared_ptr<Object> object, Backing backing, const char* name) {
    const int descriptor = backing == Backing::memfd ? memfd_create(name, MFD_CLOEXEC)
                                                     : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) {
        return -errno;
    }
    struct stat status = {};
    if (fstat(descriptor, &status) != 0) {
        const int error = errno;
        close(descriptor);
        return -error;
    }
    Table& all = table();
    std::shared_ptr<Object> stale;
    const std::lock_guard guard(all.lock);
    stale = replace(all, descriptor, {std::move(object), status.st_dev, status.st_ino});
    return descriptor;
}

std::shared_ptr<Object> object_of(int descriptor) {
    if (!may_be_ours(descriptor) || !is_host()) {
        return nullptr;
    }
    struct stat status = {};
    const bool open = fstat(descriptor, &status) == 0;
    Table& all = table();
    std::shared_ptr<Object> stale;
    const std::lock_guard guard(all.lock);
    const auto found = all.entries.find(descriptor);
    if (found == all.entries.end()) {
        return nullptr;
    }
    if (!open || found->second.device != status.st_dev || found->second.inode != status.st_ino) {
        stale = erase(all, descriptor);
        return nullptr;
    }
    return found->second.object;
}

int wrong_descriptor(int descriptor) noexcept {
    return fcntl(descriptor, F_GETFD) < 0 ? -EBADF : -EINVAL;
}

bool may_be_ours(int descriptor) noexcept {
    if (descriptor < 0) {
        return false;
    }
    return descriptor >= kHintedMax ||
           (hints[descriptor / 64].load(std::memory_order_acquire) >> (descriptor % 64) & 1) != 0;
}

void forget_descriptor(int descriptor) {
    if (!may_be_ours(descriptor) || !is_host()) {
        return;
    }
    Table& all = table();
    std::shared_ptr<Object> old;
    const std::lock_guard guard(all.lock);
    old = erase(all, descriptor);
}

void forget_descriptors(unsigned first, unsigned last) {
    if (!is_host()) {
        return;
    }
    std::vector<int> ours;
    {
        Table& all = table();
        const std::lock_guard guard(all.lock);
        for (const auto& [descriptor, entry] : all.entries) {
            const auto number = static_cast<unsigned>(descriptor);
            if (number >= first && number <= last) {
                ours.push_back(descriptor);
            }
        }
    }
    for (const int descriptor : ours) {
        forget_descriptor(descriptor);
    }
}

void follow_dup(int old_descriptor, int new_descriptor) {
    if (old_descriptor == new_descriptor || !is_host()) {
        return;
    }
    Table& all = table();
    std::shared_ptr<Object> replaced;
    const std::lock_guard guard(all.lock);
    const auto found = all.entries.find(old_descriptor);
    if (found == all.entries.end()) {
        replaced = erase(all, new_descriptor);
    } else {
        replaced = replace(all, new_descriptor, Entry(found->second));
    }
}

void for_each_descriptor(void (*function)(int, Object&, void*), void* argument) {
    if (!is_host()) {
        return;
    }
    Table& all = table();
    const std::lock_guard guard(all.lock);
    for (const auto& [descriptor, entry] : all.entries) {
        function(descriptor, *entry.object, argument);
    }
}

}  // namespace taskwork::uapi
