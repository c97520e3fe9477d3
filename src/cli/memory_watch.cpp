// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <utility>

#include "sync/grace.hpp"
#include "task/task.hpp"
#include "task/worker.hpp"

namespace taskwork::cli {

namespace {

/// The worker may set it when nobody watches any more.
std::atomic<bool> ended;

/// Empty: it has ended meanwhile.
std::string name_of(const task::Task& task) {
    std::ifstream file(fmt::format("/proc/{}/task/{}/comm", task.pid.get(), task.tid.get()));
    std::string name;
    std::getline(file, name);
    return name;
}

}  // namespace

MemoryWatch::MemoryWatch() noexcept { ended.store(true, std::memory_order_relaxed); }

bool MemoryWatch::is_waiting() const noexcept {
    // Acquire: pairs with the release of the worker's call.
    return !ended.load(std::memory_order_acquire);
}

void MemoryWatch::look(std::uint64_t now_ns) {
    if (is_waiting()) {
        if (now_ns - asked_ns_ >= kLateNs) {
            find_holders(now_ns - asked_ns_);
        }
        return;
    }
    if (epoch_ != 0 && now_ns - asked_ns_ < kLateNs) {
        return;
    }
    ended.store(false, std::memory_order_relaxed);
    asked_ns_ = now_ns;
    epoch_ = sync::GracePeriods::get().epoch();
    task::Worker::after_grace_period(
        [](void*) noexcept { ended.store(true, std::memory_order_release); }, nullptr);
}

void MemoryWatch::find_holders(std::uint64_t ns) {
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        const task::Task& task = table.task_at(index);
        const bool holds =
            std::any_of(std::begin(task.readers), std::end(task.readers),
                        [&](const sync::ReaderSlot& slot) { return slot.is_open_since(epoch_); });
        if (!holds) {
            continue;
        }
        const auto known =
            std::find_if(held_back_.begin(), held_back_.end(), [&](const HeldBack& one) {
                return one.pid == task.pid && one.tid == task.tid;
            });
        if (known != held_back_.end()) {
            known->ns = std::max(known->ns, ns);
        } else if (std::string name = name_of(task); !name.empty()) {
            held_back_.push_back({task.pid, task.tid, std::move(name), ns});
        }
    }
}

}  // namespace taskwork::cli
