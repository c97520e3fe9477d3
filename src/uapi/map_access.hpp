// SPDX-License-Identifier: Apache-2.0
//
// What every operation of a user on elements begins with: the map behind the descriptor, whether
// the descriptor permits it, and a span in which elements stay memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "uapi/object.hpp"
#include "uapi/thread.hpp"

namespace taskwork::uapi {

class MapAccess {
public:
    static constexpr unsigned read = 1;
    static constexpr unsigned write = 2;

    /// Context: task.
    MapAccess(std::uint32_t descriptor, unsigned wanted);
    /// 0, or -EBADF, -EINVAL (not a map), -EPERM (frozen, or opened otherwise), -ESRCH (domain
    /// closed). The others need 0.
    [[nodiscard]] int error() const noexcept { return error_; }
    [[nodiscard]] map::Map& map() const noexcept { return object_->map(); }
    /// The next key in the order of the kernel's walks. Errors as map::next_key().
    /// Context: task.
    [[nodiscard]] std::errc next_key(const void* key, void* next) const;
    /// How long an update waits for memory that readers hold back.
    static constexpr std::uint64_t kMemoryWaitNs = 1'000'000'000;
    /// Update with a value of a user: of maps of maps it is a descriptor. 0 or a negative errno;
    /// -ENOMEM only when there has been no spare for kMemoryWaitNs and the worker has found none
    /// after that: users may wait for a grace period where programs may not.
    /// Context: task.
    [[nodiscard]] long update(const void* key, const void* value, std::uint64_t flags);

private:
    [[nodiscard]] long update_once(const void* key, const void* value, std::uint64_t flags) const;
    [[nodiscard]] long update_program(const void* key, const void* value,
                                      std::uint64_t flags) const;

    [[nodiscard]] long update_event(const void* key, const void* value, std::uint64_t flags) const;

    int error_ = 0;
    // In this order: the span ends before the reference goes, since that may free the map.
    std::shared_ptr<MapObject> object_;
    std::optional<ElementSection> section_;
};

/// Gives back what an array of perf events has held.
/// Context: task.
void let_go_of_event(void* event) noexcept;

/// Installs a descriptor of the kind that the map wants. Descriptor or negative errno.
/// Context: task.
long install_map(std::shared_ptr<MapObject> object);

}  // namespace taskwork::uapi
