// SPDX-License-Identifier: Apache-2.0
#include "agent/threads.hpp"

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "agent/dispositions.hpp"
#include "agent/libc.hpp"
#include "agent/thread_signals.hpp"

namespace taskwork::agent {

namespace {

constinit ThreadHooks hooks_in_force{};
constinit std::atomic<bool> installed{false};
constinit pthread_key_t exit_key{};

constinit thread_local unsigned exit_rounds __attribute__((tls_model("initial-exec"))) = 0;

// What a new thread is told, made by its creator.
struct Birth {
    union {
        void* (*posix)(void*);
        thrd_start_t c11;
    } function;
    void* argument;
    bool blocked;  // kSignal, as the application believes
};

// Destructor of our thread-specific value: lets all rounds but the last pass, so that destructors
// of the application are still covered.
void thread_ends(void* value) {
    if (++exit_rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(exit_key, value);
        return;
    }
    hooks_in_force.exiting();
    forget_thread_signals();
}

Birth begin_thread(void* argument) {
    auto* given = static_cast<Birth*>(argument);
    const Birth birth = *given;
    std::free(given);
    thread_signals.blocked = birth.blocked;
    // Attributes, or a creator in a handler, may have handed down a mask with it.
    kernel_sigmask(SIG_UNBLOCK, bit_of(kSignal));
    pthread_setspecific(exit_key, &exit_key);  // any value but null
    hooks_in_force.started();
    return birth;
}

void* run_posix_thread(void* argument) {
    const Birth birth = begin_thread(argument);
    return birth.function.posix(birth.argument);
}

int run_c11_thread(void* argument) {
    const Birth birth = begin_thread(argument);
    return birth.function.c11(birth.argument);
}

bool believed_mask_of(const pthread_attr_t* attributes) noexcept {
    sigset_t mask;
    if (attributes != nullptr && pthread_attr_getsigmask_np(attributes, &mask) == 0) {
        return (bits_of(mask) & bit_of(kSignal)) != 0;
    }
    return application_blocks_here();
}

// By fork's hooks or by _Fork, never both: fork calls _Fork inside libc, past us.
void child_begins() {
    reset_dispositions_in_child();
    reset_thread_signals_in_child();
    hooks_in_force.forked_child();
}

}  // namespace

std::errc install_thread_hooks(const ThreadHooks& hooks) noexcept {
    libc();
    hooks_in_force = hooks;
    if (const int error = pthread_key_create(&exit_key, thread_ends); error != 0) {
        return static_cast<std::errc>(error);
    }
    if (const int error = pthread_atfork(nullptr, nullptr, child_begins); error != 0) {
        return static_cast<std::errc>(error);
    }
    const int error = pthread_setspecific(exit_key, &exit_key);
    // Pairs with the acquires below: whoever finds it set finds the hooks.
    installed.store(error == 0, std::memory_order_release);
    return static_cast<std::errc>(error);
}

int application_pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                               void* (*function)(void*), void* argument) noexcept {
    if (!installed.load(std::memory_order_acquire)) {
        return libc().pthread_create(thread, attributes, function, argument);
    }
    auto* birth = static_cast<Birth*>(std::malloc(sizeof(Birth)));
    if (birth == nullptr) {
        return EAGAIN;
    }
    birth->function.posix = function;
    birth->argument = argument;
    birth->blocked = believed_mask_of(attributes);
    const int error = libc().pthread_create(thread, attributes, run_posix_thread, birth);
    if (error != 0) {
        std::free(birth);
    }
    return error;
}

int application_thrd_create(thrd_t* thread, thrd_start_t function, void* argument) noexcept {
    if (!installed.load(std::memory_order_acquire)) {
        return libc().thrd_create(thread, function, argument);
    }
    auto* birth = static_cast<Birth*>(std::malloc(sizeof(Birth)));
    if (birth == nullptr) {
        return thrd_nomem;
    }
    birth->function.c11 = function;
    birth->argument = argument;
    birth->blocked = application_blocks_here();
    const int result = libc().thrd_create(thread, run_c11_thread, birth);
    if (result != thrd_success) {
        std::free(birth);
    }
    return result;
}

pid_t application_fork_without_hooks() noexcept {
    const pid_t pid = libc().fork_without_hooks();
    if (pid == 0 && installed.load(std::memory_order_relaxed)) {
        child_begins();
    }
    return pid;
}

void application_exiting() noexcept {
    if (installed.load(std::memory_order_acquire)) {
        hooks_in_force.process_exiting();
    }
}

}  // namespace taskwork::agent
