// SPDX-License-Identifier: Apache-2.0
//
// Descriptors: each Object is behind a real descriptor of the process (a memfd; an eventfd where
// it is to be polled), so numbers never collide with the application's, and close-on-exec, dup and
// epoll are the kernel's own. This table says what a number means. It follows dup and close through
// the wrapped libc calls; a number that was closed behind its back (raw system call, close_range)
// is found out by the identity of the file and forgotten.
//
// In a forked child of the host none of its descriptors is ours: what they stand for is the host's,
// and the table's lock may have been taken by a thread that the child does not have.
#pragma once

#include <memory>
#include <vector>

#include "base/errc.hpp"
#include "uapi/object.hpp"

namespace taskwork::uapi {

enum class Backing { memfd, eventfd };

/// Makes a new descriptor, close-on-exec, for the object. Returns it, or a negative errno (-EMFILE,
/// -ENFILE, -ENOMEM), in which case the object is let go. `name` is what /proc/PID/fd shows.
/// Context: task.
int install_descriptor(std::shared_ptr<Object> object, Backing backing, const char* name);

/// The object behind a descriptor; nullptr if it is none of ours.
/// Context: task.
std::shared_ptr<Object> object_of(int descriptor);

/// The object as a T, or what the kernel says of another: -EBADF for a closed descriptor, -EINVAL
/// for one of another kind.
/// Context: task.
template <class T>
std::shared_ptr<T> object_as(int descriptor, int& error);

/// The error for a descriptor that is not what was wanted: -EBADF if it is closed, else -EINVAL.
/// Context: task.
int wrong_descriptor(int descriptor) noexcept;

/// Whether the number may be ours: false is certain. One load.
/// Context: any.
bool may_be_ours(int descriptor) noexcept;

/// Follows close(descriptor), before it: the object is let go, which may destroy it.
/// Context: task.
void forget_descriptor(int descriptor);

/// Follows close_range(first, last), before it.
/// Context: task.
void forget_descriptors(unsigned first, unsigned last);

/// Follows a dup from `old_descriptor` to `new_descriptor`, after it.
/// Context: task.
void follow_dup(int old_descriptor, int new_descriptor);

/// Calls function(descriptor, object, argument) for every open descriptor of ours, under the
/// table's lock: the function must not come back here, nor wait for anybody.
/// Context: task; irq (the lock is of the host process, held for moments, never in a handler).
void for_each_descriptor(void (*function)(int descriptor, Object& object, void* argument),
                         void* argument);

template <class T>
std::shared_ptr<T> object_as(int descriptor, int& error) {
    std::shared_ptr<Object> object = object_of(descriptor);
    if (object == nullptr || object->kind() != T::kKind) {
        error = wrong_descriptor(descriptor);
        return nullptr;
    }
    return std::static_pointer_cast<T>(std::move(object));
}

}  // namespace taskwork::uapi
