// SPDX-License-Identifier: Apache-2.0
#include "uapi/thread.hpp"

#include <pthread.h>

#include <cstdint>

#include "bpf/program.hpp"
#include "sync/arena.hpp"

namespace taskwork::uapi {
namespace {

/// Ends the registration of a thread that was registered here.
struct Registration {
    bool active = false;
    ~Registration() {
        if (active && sync::Arena::present() && task::current() != nullptr) {
            task::exit_current();
        }
    }
};
thread_local Registration registration;

}  // namespace

task::Task* own_task() {
    if (task::Task* task = task::current(); task != nullptr) {
        return task;
    }
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        void* base = nullptr;
        std::size_t size = 0;
        if (pthread_attr_getstack(&attributes, &base, &size) == 0) {
            low = reinterpret_cast<std::uintptr_t>(base);
            high = low + size;
        }
        pthread_attr_destroy(&attributes);
    }
    if (task::register_current(low, high) != no_error) {
        return nullptr;
    }
    registration.active = true;
    task::Task* task = task::current();
    if (task != nullptr) {
        bpf::describe_task(*task);
    }
    return task;
}

ElementSection::ElementSection() {
    if (task::Task* task = own_task(); task != nullptr) {
        section_.emplace(task);
        reader_.emplace(*task, sync::Flavour::sleepable);
    }
}

}  // namespace taskwork::uapi
