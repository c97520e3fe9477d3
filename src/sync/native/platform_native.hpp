// SPDX-License-Identifier: Apache-2.0
//
// The platform seam on Linux: std::atomic, x86-64 single-instruction counters, raw system calls.
// See sync/platform.hpp. Every function here is legal in any context: none takes a lock, allocates
// or touches errno.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace taskwork::platform {

/// std::atomic reduced to what the core uses; the order is always spelled out.
template <class T>
class Atomic {
public:
    constexpr Atomic() noexcept = default;
    constexpr explicit Atomic(T value) noexcept : value_(value) {}
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    [[nodiscard]] T load(std::memory_order order) const noexcept { return value_.load(order); }
    void store(T value, std::memory_order order) noexcept { value_.store(value, order); }
    T exchange(T value, std::memory_order order) noexcept { return value_.exchange(value, order); }
    /// On failure `expected` holds the value found (read with acquire).
    bool compare_exchange(T& expected, T desired, std::memory_order order) noexcept {
        return value_.compare_exchange_strong(expected, desired, order, std::memory_order_acquire);
    }
    T fetch_add(T value, std::memory_order order) noexcept {
        return value_.fetch_add(value, order);
    }
    T fetch_sub(T value, std::memory_order order) noexcept {
        return value_.fetch_sub(value, order);
    }
    T fetch_or(T value, std::memory_order order) noexcept { return value_.fetch_or(value, order); }
    T fetch_and(T value, std::memory_order order) noexcept {
        return value_.fetch_and(value, order);
    }

private:
    std::atomic<T> value_{};
    static_assert(std::atomic<T>::is_always_lock_free);
};

/// Data that several threads touch though it is not atomic: something else (a state word, a grace
/// period) orders a write before every read that may follow. Here it is its value and costs
/// nothing; the explorer's platform checks that the order is there.
template <class T>
class Plain {
public:
    constexpr Plain() noexcept = default;
    constexpr explicit Plain(T value) noexcept : value_(value) {}
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;

    [[nodiscard]] constexpr T get() const noexcept { return value_; }
    constexpr operator T() const noexcept { return get(); }  ///< Reads as what it holds.
    constexpr void set(T value) noexcept { value_ = value; }

private:
    T value_{};
};

/// Two words that change together.
struct Pair {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
};

/// Two words of memory that change by one 16-byte compare-exchange.
class alignas(16) AtomicPair {
public:
    /// Both words as they were at one moment, provided that `low` never returns to an old value
    /// (a position, a version). Orders later accesses after it (acquire).
    [[nodiscard]] Pair load() const noexcept {
        for (;;) {
            const std::uint64_t low = low_.load(std::memory_order_acquire);
            const std::uint64_t high = high_.load(std::memory_order_acquire);
            if (low_.load(std::memory_order_acquire) == low) {
                return {low, high};
            }
        }
    }
    /// A full fence. On failure `expected` holds the words found.
    bool compare_exchange(Pair& expected, Pair desired) noexcept {
        bool equal;
        asm volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*this), "+a"(expected.low), "+d"(expected.high)
                     : "b"(desired.low), "c"(desired.high)
                     : "memory");
        return equal;
    }
    /// Sets bits of the high word.
    void set_high(std::uint64_t bits, std::memory_order order) noexcept {
        high_.fetch_or(bits, order);
    }
    /// The low word alone: a single position that readers of one word share.
    [[nodiscard]] std::uint64_t load_low(std::memory_order order) const noexcept {
        return low_.load(order);
    }

private:
    Atomic<std::uint64_t> low_;
    Atomic<std::uint64_t> high_;
};
static_assert(sizeof(AtomicPair) == 16);

/// A counter of one thread that its own handlers also change: each change is one instruction, so a
/// handler that nests between any two instructions leaves it right (a plain load, add and store
/// lost increments). Other threads and processes may read it.
class LocalCounter {
public:
    void increment() noexcept { asm volatile("incl %0" : "+m"(value_) : : "cc", "memory"); }
    void decrement() noexcept { asm volatile("decl %0" : "+m"(value_) : : "cc", "memory"); }
    [[nodiscard]] std::uint32_t get() const noexcept {
        return __atomic_load_n(&value_, __ATOMIC_RELAXED);
    }
    void set(std::uint32_t value) noexcept { __atomic_store_n(&value_, value, __ATOMIC_RELAXED); }

private:
    std::uint32_t value_ = 0;
};

/// As LocalCounter, 64 bits wide, for statistics.
class LocalStatistic {
public:
    void add(std::uint64_t amount) noexcept {
        asm volatile("addq %1, %0" : "+m"(value_) : "er"(amount) : "cc");
    }
    void increment() noexcept { add(1); }
    [[nodiscard]] std::uint64_t get() const noexcept {
        return __atomic_load_n(&value_, __ATOMIC_RELAXED);
    }
    void set(std::uint64_t value) noexcept { __atomic_store_n(&value_, value, __ATOMIC_RELAXED); }

private:
    std::uint64_t value_ = 0;
};

/// Keeps the compiler from moving memory accesses across; orders a thread against its own handlers.
inline void signal_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
/// A full hardware fence.
inline void full_fence() noexcept { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/// The frame of the function that this is called in: everything that it and those it calls keep on
/// the stack lies below.
[[gnu::always_inline]] inline std::uintptr_t stack_pointer() noexcept {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

/// The stack pointer itself, where the frame of the function that this is called in ends: for
/// scopes that are opened inline.
[[gnu::always_inline]] inline std::uintptr_t stack_end() noexcept {
    std::uintptr_t pointer;
    asm volatile("movq %%rsp, %0" : "=r"(pointer));
    return pointer;
}

/// The stack pointer of the *caller* of the function that this is called in, at the call: for
/// constructors that note where the scope began which they open.
[[gnu::always_inline]] inline std::uintptr_t caller_stack_pointer() noexcept {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) + 2 * sizeof(void*);
}

/// CLOCK_MONOTONIC in nanoseconds (by the vDSO: no system call where the kernel offers it).
std::uint64_t now_ns() noexcept;
/// CLOCK_BOOTTIME in nanoseconds.
std::uint64_t boot_ns() noexcept;

/// Raw gettid and getpid, never cached.
std::int32_t thread_id() noexcept;
std::int32_t process_id() noexcept;

/// Sends our signal to a thread with the mark by which our handler knows it (sync/signal.hpp).
/// Returns 0 or the errno: ESRCH (no such thread), EPERM, EAGAIN.
int notify_thread(std::int32_t pid, std::int32_t tid) noexcept;

/// Waits while *word == expected, at most timeout_ns (0: for ever). The word may be shared with
/// other processes. Returns 0, or ETIMEDOUT, EAGAIN, EINTR.
int futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected,
               std::uint64_t timeout_ns) noexcept;
/// Wakes up to `count` waiters.
void futex_wake(Atomic<std::uint32_t>& word, int count) noexcept;

/// Lets another thread have the processor.
void yield() noexcept;

/// Whether the thread or process has ended, as far as its id tells (which may be another's by now).
bool thread_is_gone(std::int32_t pid, std::int32_t tid) noexcept;
bool process_is_gone(std::int32_t pid) noexcept;

/// Watches a process for its end. Returns what ended_processes() takes, or the negative errno:
/// -ESRCH (it has ended), -EMFILE, -ENFILE, -ENOSYS (it cannot be watched).
int watch_process(std::int32_t pid) noexcept;
/// Gives the watch back; a negative one is none.
void unwatch_process(int watch) noexcept;
/// Sets ended[i] to whether the process of watches[i] has ended; false for a negative one.
void ended_processes(const int* watches, bool* ended, std::size_t count) noexcept;

/// A lock of the host process among its own threads. Never taken in a handler.
class Mutex {
public:
    void lock() noexcept { mutex_.lock(); }
    void unlock() noexcept { mutex_.unlock(); }

private:
    std::mutex mutex_;
};

/// Registers this process as a receiver of membarrier_all(). False: the kernel refuses, and readers
/// of this process must fence by themselves.
bool membarrier_register() noexcept;
/// A full fence on every running thread of every registered process. False: not supported.
bool membarrier_all() noexcept;

/// The calling thread's state; initial-exec, zero at thread start, valid in handlers.
struct ThreadState {
    Plain<void*> task;            ///< Task* of the task layer, nullptr until registered.
    Plain<std::uint64_t> cookie;  ///< Fork cookie that was current when `task` was set.
};
namespace detail {
[[gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] extern thread_local constinit ThreadState thread_state;
}
inline ThreadState& this_thread() noexcept { return detail::thread_state; }

/// What there is one of per process; a forked child begins with a copy, which the cookie tells.
struct ProcessState {
    Atomic<void*> process;         ///< Process* of the task layer, nullptr until joined.
    Atomic<std::uint64_t> cookie;  ///< Fork cookie under which it was joined; set after `process`.
    Atomic<std::uint32_t> readers_fence{1};  ///< 0 once the kernel has agreed to fence readers.
    Atomic<std::uint32_t> quiet{0};          ///< 1: it may be killed for a system call.
};
[[gnu::visibility("hidden")]] extern constinit ProcessState process_state;
inline ProcessState& this_process() noexcept { return process_state; }

namespace detail {
/// One page that the kernel empties in a forked child.
[[gnu::visibility("hidden")]] extern constinit std::atomic<std::uint64_t*> cookie_page;
}  // namespace detail

/// A value that a child made by fork, _Fork or raw clone without CLONE_VM reads as 0, and the
/// process that set it (or a vfork child) as what it set.
inline std::uint64_t fork_cookie() noexcept {
    // Pairs with the release in fork_cookie_renew: the page is ready once it is seen.
    const std::uint64_t* page = detail::cookie_page.load(std::memory_order_acquire);
    return page == nullptr ? 0 : __atomic_load_n(page, __ATOMIC_RELAXED);
}
/// Gives this process a fresh cookie; called once at start and once in each forked child. Returns
/// false if the page cannot be had (no memory).
bool fork_cookie_renew() noexcept;
/// Makes fork_cookie() 0 again, for all threads.
void fork_cookie_clear() noexcept;

}  // namespace taskwork::platform
