// SPDX-License-Identifier: Apache-2.0
//
// libc's functions that start threads, _Fork, and the end of the process.
#include <pthread.h>
#include <threads.h>
#include <unistd.h>

#include "agent/threads.hpp"

#define TW_EXPORT extern "C" __attribute__((visibility("default")))

using namespace taskwork::agent;

TW_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                             void* (*function)(void*), void* argument) noexcept {
    return application_pthread_create(thread, attributes, function, argument);
}

TW_EXPORT int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
    return application_thrd_create(thread, function, argument);
}

TW_EXPORT pid_t _Fork() noexcept { return application_fork_without_hooks(); }

namespace {

__attribute__((destructor)) void process_ends() { application_exiting(); }

}  // namespace
