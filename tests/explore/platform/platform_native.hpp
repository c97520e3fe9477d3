// SPDX-License-Identifier: Apache-2.0
//
// The platform seam of the explorer: what src/sync/native/platform_native.hpp is for Linux. Every
// access is a step of the explorer (../steps.hpp); the core's sources are compiled against this
// header unchanged.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/explore/steps.hpp"

namespace taskwork::platform {

namespace detail {

template <class T>
std::uint64_t to_bits(T value) noexcept {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <class T>
T from_bits(std::uint64_t bits) noexcept {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace detail

template <class T>
class Atomic {
public:
    constexpr Atomic() noexcept = default;
    constexpr explicit Atomic(T value) noexcept : value_(value) {}
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    [[nodiscard]] T load(std::memory_order order) const noexcept {
        return detail::from_bits<T>(explore::step(explore::Kind::load, &value_, sizeof(T), order));
    }
    void store(T value, std::memory_order order) noexcept {
        run(explore::Kind::store, value, order);
    }
    T exchange(T value, std::memory_order order) noexcept {
        return run(explore::Kind::exchange, value, order);
    }
    bool compare_exchange(T& expected, T desired, std::memory_order order) noexcept {
        const std::uint64_t wanted = detail::to_bits(expected);
        const std::uint64_t found =
            explore::step(explore::Kind::compare_exchange, &value_, sizeof(T), order,
                          detail::to_bits(desired), wanted);
        expected = detail::from_bits<T>(found);
        return found == wanted;
    }
    T fetch_add(T value, std::memory_order order) noexcept {
        return run(explore::Kind::add, value, order);
    }
    T fetch_sub(T value, std::memory_order order) noexcept {
        return run(explore::Kind::sub, value, order);
    }
    T fetch_or(T value, std::memory_order order) noexcept {
        return run(explore::Kind::bit_or, value, order);
    }
    T fetch_and(T value, std::memory_order order) noexcept {
        return run(explore::Kind::bit_and, value, order);
    }

private:
    T run(explore::Kind kind, T value, std::memory_order order) noexcept {
        return detail::from_bits<T>(
            explore::step(kind, &value_, sizeof(T), order, detail::to_bits(value)));
    }

    T value_{};
};

template <class T>
class Plain {
public:
    constexpr Plain() noexcept = default;
    constexpr explicit Plain(T value) noexcept : value_(value) {}
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;

    [[nodiscard]] T get() const noexcept {
        return detail::from_bits<T>(explore::step(explore::Kind::plain_load, &value_, sizeof(T),
                                                  std::memory_order_relaxed));
    }
    operator T() const noexcept { return get(); }
    void set(T value) noexcept {
        explore::step(explore::Kind::plain_store, &value_, sizeof(T), std::memory_order_relaxed,
                      detail::to_bits(value));
    }

private:
    T value_{};
};

struct Pair {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
};

/// An exchange of both words is one step; a load is the native one's, of three.
class alignas(16) AtomicPair {
public:
    [[nodiscard]] Pair load() const noexcept {
        for (;;) {
            const std::uint64_t low = low_.load(std::memory_order_acquire);
            const std::uint64_t high = high_.load(std::memory_order_acquire);
            if (low_.load(std::memory_order_acquire) == low) {
                return {low, high};
            }
        }
    }
    bool compare_exchange(Pair& expected, Pair desired) noexcept {
        explore::HighWord high{desired.high, expected.high, 0};
        const std::uint64_t low = explore::step_pair(this, desired.low, expected.low, high);
        const bool equal = low == expected.low && high.found == expected.high;
        expected = {low, high.found};
        return equal;
    }
    void set_high(std::uint64_t bits, std::memory_order order) noexcept {
        high_.fetch_or(bits, order);
    }
    [[nodiscard]] std::uint64_t load_low(std::memory_order order) const noexcept {
        return low_.load(order);
    }

private:
    Atomic<std::uint64_t> low_;
    Atomic<std::uint64_t> high_;
};
static_assert(sizeof(AtomicPair) == 16);

/// One instruction each in the native platform, so one step each here.
class LocalCounter {
public:
    void increment() noexcept { step(explore::Kind::add, 1); }
    void decrement() noexcept { step(explore::Kind::sub, 1); }
    [[nodiscard]] std::uint32_t get() const noexcept {
        return static_cast<std::uint32_t>(
            explore::step(explore::Kind::load, &value_, 4, std::memory_order_relaxed));
    }
    void set(std::uint32_t value) noexcept { step(explore::Kind::store, value); }

private:
    void step(explore::Kind kind, std::uint32_t value) noexcept {
        explore::step(kind, &value_, 4, std::memory_order_relaxed, value);
    }
    std::uint32_t value_ = 0;
};

/// Nothing is decided by statistics: they are no steps, and no part of a state.
class LocalStatistic {
public:
    void add(std::uint64_t) noexcept {}
    void increment() noexcept {}
    [[nodiscard]] std::uint64_t get() const noexcept { return 0; }
    void set(std::uint64_t) noexcept {}

private:
    std::uint64_t value_ [[maybe_unused]] = 0;
};

/// The order of steps is that of the source already.
inline void signal_fence() noexcept {}
inline void full_fence() noexcept {
    explore::step(explore::Kind::fence, nullptr, 0, std::memory_order_seq_cst);
}

/// The explored threads have no stack bounds, so that no address is judged.
inline std::uintptr_t stack_pointer() noexcept { return 0x1000; }
inline std::uintptr_t caller_stack_pointer() noexcept { return 0x1000; }
inline std::uintptr_t stack_end() noexcept { return 0x1000; }

/// The clock stands still: what depends on it only reports.
inline std::uint64_t now_ns() noexcept { return 1; }
inline std::uint64_t boot_ns() noexcept { return 1; }

/// Whoever waits for a lock goes round; no explored code does.
inline void yield() noexcept {}

std::int32_t thread_id() noexcept;
std::int32_t process_id() noexcept;

int notify_thread(std::int32_t pid, std::int32_t tid) noexcept;
bool thread_is_gone(std::int32_t pid, std::int32_t tid) noexcept;
bool process_is_gone(std::int32_t pid) noexcept;
int watch_process(std::int32_t pid) noexcept;
void unwatch_process(int watch) noexcept;
void ended_processes(const int* watches, bool* ended, std::size_t count) noexcept;

/// The host's locks are taken by its threads at set-up and by its worker: scenarios have one actor
/// that takes them. Two are reported, for that would need a model of waiting.
class Mutex {
public:
    void lock() noexcept {
        if (taken_) {
            explore::contended_lock();
        }
        taken_ = true;
    }
    void unlock() noexcept { taken_ = false; }

private:
    bool taken_ = false;
};

int futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected,
               std::uint64_t timeout_ns) noexcept;
void futex_wake(Atomic<std::uint32_t>& word, int count) noexcept;

bool membarrier_register() noexcept;
bool membarrier_all() noexcept;

struct ThreadState {
    Plain<void*> task;
    Plain<std::uint64_t> cookie;
};
ThreadState& this_thread() noexcept;

struct ProcessState {
    Atomic<void*> process;
    Atomic<std::uint64_t> cookie;
    Atomic<std::uint32_t> readers_fence{1};
    Atomic<std::uint32_t> quiet{0};
};
ProcessState& this_process() noexcept;

std::uint64_t fork_cookie() noexcept;
bool fork_cookie_renew() noexcept;
void fork_cookie_clear() noexcept;

}  // namespace taskwork::platform
