// SPDX-License-Identifier: Apache-2.0
#include "library/safe_points.hpp"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "base/raw_system_call.hpp"
#include "library/domain.hpp"
#include "library/handler.hpp"
#include "task/run_point.hpp"
#include <taskwork/safe_point.hpp>

namespace taskwork {

namespace {

/// What threads without a task look at.
constinit const std::atomic<std::uint64_t> nothing{0};

constexpr std::int32_t kNone = -1;

}  // namespace

namespace detail {
constinit thread_local const std::atomic<std::uint64_t>* attention = &nothing;
}  // namespace detail

const std::atomic<std::uint64_t>& library::attention_word(const task::Task& task) noexcept {
    // Read as one word: how the thread was told of works of either list. By its place in the task:
    // the two halves are written as what they are.
    static_assert(offsetof(task::Task, attention) == offsetof(task::Task, pending) + 4);
    static_assert(offsetof(task::Task, pending) % 8 == 0);
    return *reinterpret_cast<const std::atomic<std::uint64_t>*>(
        reinterpret_cast<const std::byte*>(&task) + offsetof(task::Task, pending));
}

void library::set_attention(const task::Task& task) noexcept {
    detail::attention = &attention_word(task);
}

void library::forget_attention() noexcept { detail::attention = &nothing; }

bool library::has_attention() noexcept { return detail::attention != &nothing; }

bool library::raise_event(task::Task& task) noexcept {
    const std::int32_t descriptor =
        thread_of(task).event_descriptor.load(std::memory_order_seq_cst);
    if (descriptor < 0) {
        return false;
    }
    const std::uint64_t one = 1;
    raw_system_call(SYS_write, descriptor, reinterpret_cast<long>(&one), sizeof(one));
    return true;
}

void library::lower_event(task::Task& task) noexcept {
    const std::int32_t descriptor =
        thread_of(task).event_descriptor.load(std::memory_order_acquire);
    if (descriptor >= 0) {
        std::uint64_t count = 0;
        raw_system_call(SYS_read, descriptor, reinterpret_cast<long>(&count), sizeof(count));
    }
}

void library::close_event_descriptor(task::Task& task) noexcept {
    const std::int32_t descriptor =
        thread_of(task).event_descriptor.exchange(kNone, std::memory_order_acq_rel);
    if (descriptor >= 0) {
        raw_system_call(SYS_close, descriptor);
    }
}

void detail::run_safe_point() noexcept {
    task::Task* self = library::self();
    if (self == nullptr) {
        library::forget_attention();  // A forked child: what it looked at was its parent's.
        return;
    }
    assume_task();
    task::safe_point();
}

std::errc detail::event_descriptor(int& descriptor, Module& module) noexcept {
    assume_task();
    if (const std::errc error = library::ensure_registered(module, Options{}); error != no_error) {
        return error;
    }
    task::Task& self = *library::self();
    auto& field = library::thread_of(self).event_descriptor;
    std::int32_t have = field.load(std::memory_order_relaxed);
    if (have < 0) {
        have = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (have < 0) {
            return last_errc();
        }
        // seq_cst: a scheduler that found none has set the word of attention before, which is
        // looked at below.
        field.store(have, std::memory_order_seq_cst);
        if (library::attention_word(self).load(std::memory_order_seq_cst) != 0) {
            task::raise_event_descriptor(self);
        }
    }
    descriptor = have;
    return no_error;
}

HandlerScope::HandlerScope(void* ucontext) noexcept {
    task::Task* self = library::self();
    task_ = self;
    if (self == nullptr) {
        entered_ = library::foreign_handler_depth()++ == 0;
        room_ = false;
        return;
    }
    const task::Interrupted interrupted = task::interrupted_by(*self, ucontext);
    entered_ = task::NmiScope::enter(*self, interrupted, platform::caller_stack_pointer());
    room_ = interrupted.room;
}

HandlerScope::~HandlerScope() {
    if (task_ == nullptr) {
        --library::foreign_handler_depth();
    } else if (entered_) {
        task::NmiScope::exit(*static_cast<task::Task*>(task_), room_);
    }
}

}  // namespace taskwork
