/* SPDX-License-Identifier: Apache-2.0
 *
 * libc's waits under a flood of our signals: they last as long, and end as, without it.
 */
#include "common.h"

#include <aio.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <threads.h>

#define MS 1000000LL
static const long kWait = 150 * MS;

static struct flood flood;
static long long began;
static long served_before;
static int hardly_interrupted; /* by a flood that found no processor: the case shows nothing */

static void begin(void) {
    flood_begin(&flood);
    await_served(1);
    served_before = *test_agent.served;
    began = now_ns();
}

/* The wait was interrupted by ours many times and lasted `ns`, give or take a loaded machine. */
static void end_after(long long ns) {
    const long long lasted = now_ns() - began;
    const long served = *test_agent.served - served_before;
    flood_end(&flood);
    if (lasted < ns || lasted > ns + 3000 * MS) {
        fprintf(stderr, "lasted %lld ns of %lld, interrupted %ld times\n", lasted, ns, served);
        exit(1);
    }
    hardly_interrupted = served < 20;
}

static struct timespec in_ns(long long ns) {
    return (struct timespec){ns / 1000000000LL, ns % 1000000000LL};
}

static void case_poll(void) {
    begin();
    CHECK(poll(NULL, 0, kWait / MS) == 0);
    end_after(kWait);
}

static void case_ppoll(void) {
    struct timespec timeout = in_ns(kWait);
    sigset_t mask;
    sigfillset(&mask); /* SIGURG in it must not keep ours out */
    begin();
    CHECK(ppoll(NULL, 0, &timeout, &mask) == 0);
    end_after(kWait);
    CHECK(timeout.tv_nsec == kWait);
}

static void case_select(void) {
    struct timeval timeout = {0, kWait / 1000};
    int pipes[2];
    fd_set reads;
    CHECK(pipe(pipes) == 0);
    FD_ZERO(&reads);
    FD_SET(pipes[0], &reads);
    begin();
    CHECK(select(pipes[0] + 1, &reads, NULL, NULL, &timeout) == 0);
    end_after(kWait);
    CHECK(timeout.tv_sec == 0 && timeout.tv_usec == 0);
    CHECK(!FD_ISSET(pipes[0], &reads));
}

static void case_pselect(void) {
    struct timespec timeout = in_ns(kWait);
    sigset_t mask;
    sigemptyset(&mask);
    begin();
    CHECK(pselect(0, NULL, NULL, NULL, &timeout, &mask) == 0);
    end_after(kWait);
}

static void case_nanosleep(void) {
    struct timespec time = in_ns(kWait);
    begin();
    CHECK(nanosleep(&time, &time) == 0);
    end_after(kWait);
    CHECK(time.tv_nsec == kWait); /* written only when a signal ends the sleep */
}

static void case_clock_nanosleep(void) {
    struct timespec time = in_ns(kWait);
    begin();
    CHECK(clock_nanosleep(CLOCK_BOOTTIME, 0, &time, NULL) == 0);
    end_after(kWait);
    CHECK(clock_nanosleep(CLOCK_REALTIME, 0, &(struct timespec){0, 1000000000}, NULL) == EINVAL);
}

static void case_clock_nanosleep_absolute(void) {
    struct timespec time;
    begin();
    clock_gettime(CLOCK_MONOTONIC, &time);
    time = in_ns(time.tv_sec * 1000000000LL + time.tv_nsec + kWait);
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 0);
    end_after(kWait);
}

static void case_usleep(void) {
    begin();
    CHECK(usleep(kWait / 1000) == 0);
    end_after(kWait);
}

static void case_sleep(void) {
    begin();
    errno = 77;
    CHECK(sleep(1) == 0);
    CHECK(errno == 77);
    end_after(1000 * MS);
}

static void case_thrd_sleep(void) {
    struct timespec time = in_ns(kWait);
    begin();
    CHECK(thrd_sleep(&time, NULL) == 0);
    end_after(kWait);
}

static void case_sem_timedwait(void) {
    sem_t semaphore;
    struct timespec until;
    CHECK(sem_init(&semaphore, 0, 0) == 0);
    begin();
    clock_gettime(CLOCK_REALTIME, &until);
    until = in_ns(until.tv_sec * 1000000000LL + until.tv_nsec + kWait);
    CHECK(sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT);
    end_after(kWait);
}

static void case_sem_clockwait(void) {
    sem_t semaphore;
    struct timespec until;
    CHECK(sem_init(&semaphore, 0, 0) == 0);
    begin();
    clock_gettime(CLOCK_MONOTONIC, &until);
    until = in_ns(until.tv_sec * 1000000000LL + until.tv_nsec + kWait);
    CHECK(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until) == -1 && errno == ETIMEDOUT);
    end_after(kWait);
}

static pid_t waiter;
static atomic_int handled;
static int queue;

static void count_signal(int number) {
    (void)number;
    ++handled;
}

static void handle(int number) {
    struct sigaction action = {.sa_handler = count_signal};
    CHECK(sigaction(number, &action, NULL) == 0);
}

/* Ends a wait that has been interrupted by ours often enough; not at the very moment when one of
 * ours is served, for pause would be called again after it. */
static void* end_by_signal(void* unused) {
    (void)unused;
    await_served(50);
    flood_hold(&flood);
    await_wait(waiter);
    syscall(SYS_tgkill, getpid(), waiter, SIGUSR1);
    flood.quiet = 0;
    return NULL;
}

static pthread_t later(void* (*function)(void*)) {
    pthread_t thread;
    waiter = (pid_t)syscall(SYS_gettid);
    CHECK(pthread_create(&thread, NULL, function, NULL) == 0);
    return thread;
}

static void case_pause(void) {
    handle(SIGUSR1);
    begin();
    pthread_t thread = later(end_by_signal);
    CHECK(pause() == -1 && errno == EINTR && handled == 1);
    end_after(0);
    pthread_join(thread, NULL);
}

static void case_sigsuspend(void) {
    sigset_t blocked, open;
    handle(SIGUSR1);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, &open) == 0);
    begin();
    pthread_t thread = later(end_by_signal);
    CHECK(sigsuspend(&open) == -1 && errno == EINTR && handled == 1);
    end_after(0);
    pthread_join(thread, NULL);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &open) == 0 && sigismember(&open, SIGUSR1) == 1);
}

/* A signal that the application handles, met at the same moment as ours, is never slept through:
 * each round sends both while the thread sleeps without end. */
static atomic_int rounds_left;
static void* send_both(void* unused) {
    (void)unused;
    while (rounds_left > 0) {
        const int round = rounds_left;
        send_ours(waiter);
        syscall(SYS_tgkill, getpid(), waiter, SIGUSR1);
        while (rounds_left == round) {
            pass_ns(20000);
        }
    }
    return NULL;
}

static void case_sigsuspend_misses_nothing(void) {
    sigset_t blocked, open;
    handle(SIGUSR1);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, &open) == 0);
    rounds_left = 2000;
    pthread_t thread = later(send_both);
    while (rounds_left > 0) {
        CHECK(sigsuspend(&open) == -1 && errno == EINTR);
        --rounds_left;
    }
    pthread_join(thread, NULL);
    CHECK(handled == 2000);
}

static void case_real_interruption(void) {
    struct timespec time = {100, 0}, remaining = {0, 0};
    handle(SIGUSR1);
    begin();
    pthread_t thread = later(end_by_signal);
    CHECK(nanosleep(&time, &remaining) == -1 && errno == EINTR && handled == 1);
    CHECK(remaining.tv_sec >= 90 && remaining.tv_sec < 100);
    pthread_join(thread, NULL);
    thread = later(end_by_signal);
    CHECK(poll(NULL, 0, 100000) == -1 && errno == EINTR && handled == 2);
    pthread_join(thread, NULL);
    thread = later(end_by_signal);
    CHECK(sleep(100) >= 90 && handled == 3);
    pthread_join(thread, NULL);
    end_after(0);
}

static void* end_by_byte(void* pipe_end) {
    end_by_signal(NULL);
    await_served(20);
    CHECK(write(*(int*)pipe_end, "x", 1) == 1);
    return NULL;
}

/* SA_RESTART does not make poll go on, with us or without. */
static void case_ignored_is_no_interruption(void) {
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    begin();
    pthread_t thread;
    waiter = (pid_t)syscall(SYS_gettid);
    CHECK(pthread_create(&thread, NULL, end_by_byte, &pipes[1]) == 0);
    struct pollfd file = {.fd = pipes[0], .events = POLLIN};
    CHECK(poll(&file, 1, -1) == 1);
    end_after(0);
    pthread_join(thread, NULL);
}

static void* end_by_message(void* unused) {
    (void)unused;
    await_served(50);
    struct {
        long type;
        char text[4];
    } message = {7, "end"};
    CHECK(msgsnd(queue, &message, 4, 0) == 0);
    return NULL;
}

static void case_msgrcv(void) {
    struct {
        long type;
        char text[4];
    } message;
    queue = msgget(IPC_PRIVATE, 0600);
    CHECK(queue >= 0);
    begin();
    pthread_t thread = later(end_by_message);
    const ssize_t size = msgrcv(queue, &message, sizeof message.text, 7, 0);
    msgctl(queue, IPC_RMID, NULL);
    CHECK(size == 4 && strcmp(message.text, "end") == 0);
    end_after(0);
    pthread_join(thread, NULL);
}

static void* end_by_receipt(void* unused) {
    (void)unused;
    struct {
        long type;
        char text[4096];
    } message;
    await_served(50);
    CHECK(msgrcv(queue, &message, sizeof message.text, 0, 0) >= 0);
    return NULL;
}

static void case_msgsnd(void) {
    static struct {
        long type;
        char text[4096];
    } message = {1, ""};
    queue = msgget(IPC_PRIVATE, 0600);
    CHECK(queue >= 0);
    while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) {
    }
    begin();
    pthread_t thread = later(end_by_receipt);
    const int sent = msgsnd(queue, &message, sizeof message.text, 0);
    const int error = errno;
    pthread_join(thread, NULL);
    msgctl(queue, IPC_RMID, NULL);
    errno = error;
    CHECK(sent == 0);
    end_after(0);
}

static void case_aio_suspend(void) {
    int pipes[2];
    char byte;
    struct timespec timeout = in_ns(kWait);
    CHECK(pipe(pipes) == 0);
    struct aiocb request = {.aio_fildes = pipes[0], .aio_buf = &byte, .aio_nbytes = 1};
    const struct aiocb* list[1] = {&request};
    CHECK(aio_read(&request) == 0);
    begin();
    CHECK(aio_suspend(list, 1, &timeout) == -1 && errno == EAGAIN);
    end_after(kWait);
    CHECK(write(pipes[1], "x", 1) == 1);
    while (aio_suspend(list, 1, NULL) != 0) {
        CHECK(errno == EINTR);
    }
    CHECK(aio_return(&request) == 1);
}

/* K60, K61: as the kernel's own task work, ours interrupts epoll_wait. */
static void case_epoll_is_interrupted(void) {
    struct epoll_event event;
    sigset_t mask;
    sigfillset(&mask);
    const int epoll = epoll_create1(0);
    CHECK(epoll >= 0);
    flood_begin(&flood);
    CHECK(epoll_wait(epoll, &event, 1, -1) == -1 && errno == EINTR);
    CHECK(epoll_pwait(epoll, &event, 1, -1, &mask) == -1 && errno == EINTR);
    CHECK(epoll_pwait2(epoll, &event, 1, NULL, &mask) == -1 && errno == EINTR);
    flood_end(&flood);
}

static sigjmp_buf out;

static void leave(int number) {
    (void)number;
    siglongjmp(out, 1);
}

static void* leave_later(void* unused) {
    (void)unused;
    await_served(20);
    await_wait(waiter);
    syscall(SYS_tgkill, getpid(), waiter, SIGALRM);
    return NULL;
}

/* A handler that leaves a wait by longjmp leaves no trace. */
static void case_longjmp(void) {
    int pipes[2];
    char byte;
    struct sigaction action = {.sa_handler = leave};
    CHECK(pipe(pipes) == 0);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    begin();
    for (volatile int i = 0; i < 10; ++i) {
        pthread_t thread = later(leave_later);
        if (sigsetjmp(out, 1) == 0) {
            poll(NULL, 0, -1);
            CHECK(!"reached");
        }
        pthread_join(thread, NULL);
        CHECK(poll(NULL, 0, 5) == 0);
    }
    end_after(0);
    CHECK(write(pipes[1], "x", 1) == 1 && read(pipes[0], &byte, 1) == 1);
}

/* The handler of another signal waits itself, in a call that ours interrupts for good: the outer
 * wait was interrupted by that signal, and says so. */
static int inner_epoll;
static void wait_inside(int number) {
    (void)number;
    struct epoll_event event;
    ++handled;
    CHECK(poll(NULL, 0, 20) == 0);
    while (epoll_wait(inner_epoll, &event, 1, 1000) != -1) {
    }
    CHECK(errno == EINTR);
}

static void case_nested_wait(void) {
    struct sigaction action = {.sa_handler = wait_inside};
    inner_epoll = epoll_create1(0);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    begin();
    pthread_t thread = later(end_by_signal);
    CHECK(poll(NULL, 0, 60000) == -1 && errno == EINTR && handled == 1);
    pthread_join(thread, NULL);
    end_after(20 * MS);
}

/* While ours is served on top of a wait, another signal comes: the wait ends if the application
 * handles that one and the wait admits it, and only then. */
static atomic_int tell;
static atomic_int served;
static void send_usr1_once(void) {
    if (tell) {
        tell = 0;
        syscall(SYS_tgkill, getpid(), waiter, SIGUSR1);
    }
    ++served;
}

static void send_foreign_once(void) {
    if (tell) {
        tell = 0;
        send_foreign(waiter);
    }
    ++served;
}

/* One at a time: the kernel drops a signal of which one is pending, a foreign one as well. */
static void* send_ours_until_told(void* unused) {
    (void)unused;
    await_wait(waiter);
    while (tell) {
        const int before = served;
        send_ours(waiter);
        while (served == before) {
            pass_ns(100000);
        }
    }
    return NULL;
}

static int wait_in_poll(const sigset_t* mask) {
    (void)mask;
    return poll(NULL, 0, 10000);
}
static int wait_in_ppoll(const sigset_t* mask) {
    return ppoll(NULL, 0, &(struct timespec){10, 0}, mask);
}
static int wait_in_pselect(const sigset_t* mask) {
    return pselect(0, NULL, NULL, NULL, &(struct timespec){10, 0}, mask);
}
static int wait_in_sigsuspend(const sigset_t* mask) { return sigsuspend(mask); }

static void interrupt_each(int number, void (*send)(void)) {
    static int (*const waits[])(const sigset_t*) = {wait_in_poll, wait_in_ppoll, wait_in_pselect,
                                                    wait_in_sigsuspend};
    sigset_t one, none;
    sigemptyset(&none);
    sigemptyset(&one);
    sigaddset(&one, number);
    handle(number);
    for (int blocked = 0; blocked < 2; ++blocked) {
        for (int i = blocked; i < 4; ++i) { /* poll has no mask to open it */
            for (int repeated = 0; repeated < 20; ++repeated) {
                CHECK(sigprocmask(SIG_SETMASK, blocked ? &one : &none, NULL) == 0);
                waiter = (pid_t)syscall(SYS_gettid);
                handled = 0;
                tell = 1;
                *test_agent.calls = send;
                pthread_t thread = later(send_ours_until_told);
                const int result = waits[i](&none);
                if (result != -1 || errno != EINTR || handled != 1) {
                    fprintf(stderr, "signal %d, wait %d, blocked %d: %d, handled %d\n", number, i,
                            blocked, result, handled);
                    exit(1);
                }
                *test_agent.calls = NULL;
                pthread_join(thread, NULL);
            }
        }
    }
}

static void case_a_signal_on_top_of_ours(void) {
    interrupt_each(SIGUSR1, send_usr1_once);
    interrupt_each(SIGURG, send_foreign_once);
}

/* What the mask of the call keeps out does not end it. */
static void case_a_closed_mask_on_top_of_ours(void) {
    sigset_t all;
    handle(SIGUSR1);
    sigfillset(&all);
    tell = 1;
    *test_agent.calls = send_usr1_once;
    pthread_t thread = later(send_ours_until_told);
    const long long start = now_ns();
    CHECK(ppoll(NULL, 0, &(struct timespec){0, kWait}, &all) == 0);
    CHECK(now_ns() - start >= kWait && handled == 1);
    pthread_join(thread, NULL);
}

static atomic_int cleaned;

static void clean(void* unused) {
    (void)unused;
    ++cleaned;
}

static atomic_int target_tid;

static void* cancelled_in_poll(void* type) {
    int old;
    pthread_setcanceltype((int)(long)type, &old);
    pthread_cleanup_push(clean, NULL);
    target_tid = (int)syscall(SYS_gettid);
    poll(NULL, 0, -1);
    CHECK(!"reached");
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancel_poll(int type) {
    for (int i = 0; i < 50; ++i) {
        pthread_t thread;
        void* result;
        target_tid = 0;
        cleaned = 0;
        CHECK(pthread_create(&thread, NULL, cancelled_in_poll, (void*)(long)type) == 0);
        while (target_tid == 0) {
            pass_ns(10000);
        }
        for (int n = 0; n < 5; ++n) {
            send_ours(target_tid);
            pass_ns(20000);
        }
        CHECK(pthread_cancel(thread) == 0);
        send_ours(target_tid);
        CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED && cleaned == 1);
    }
    CHECK(*test_agent.served > 50);
    CHECK(*test_agent.threads_exiting == 50);
}

static void case_cancel(void) { cancel_poll(PTHREAD_CANCEL_DEFERRED); }
static void case_cancel_asynchronous(void) { cancel_poll(PTHREAD_CANCEL_ASYNCHRONOUS); }

static atomic_int serving, served_to_the_end;
static void serve_slowly(void) {
    serving = 1;
    for (int i = 0; i < 20; ++i) {
        pass_ns(1000000);
    }
    served_to_the_end = 1;
}

static void* spin(void* unused) {
    int old;
    (void)unused;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    target_tid = (int)syscall(SYS_gettid);
    for (;;) {
    }
    return NULL;
}

/* glibc's own signal for it, which no set of libc's contains, does not cut our handler. */
static void case_cancel_waits_for_our_handler(void) {
    pthread_t thread;
    void* result;
    CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
    while (target_tid == 0) {
        pass_ns(10000);
    }
    *test_agent.calls = serve_slowly;
    CHECK(send_ours(target_tid) == 0);
    while (!serving) {
        pass_ns(10000);
    }
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && served_to_the_end == 1);
}

int main(int argc, char** argv) {
    static const struct test_case cases[] = {
        {"poll", case_poll},
        {"ppoll", case_ppoll},
        {"select", case_select},
        {"pselect", case_pselect},
        {"nanosleep", case_nanosleep},
        {"clock_nanosleep", case_clock_nanosleep},
        {"clock_nanosleep_absolute", case_clock_nanosleep_absolute},
        {"usleep", case_usleep},
        {"sleep", case_sleep},
        {"thrd_sleep", case_thrd_sleep},
        {"sem_timedwait", case_sem_timedwait},
        {"sem_clockwait", case_sem_clockwait},
        {"pause", case_pause},
        {"sigsuspend", case_sigsuspend},
        {"sigsuspend_misses_nothing", case_sigsuspend_misses_nothing},
        {"real_interruption", case_real_interruption},
        {"ignored_is_no_interruption", case_ignored_is_no_interruption},
        {"msgrcv", case_msgrcv},
        {"msgsnd", case_msgsnd},
        {"aio_suspend", case_aio_suspend},
        {"epoll_is_interrupted", case_epoll_is_interrupted},
        {"longjmp", case_longjmp},
        {"nested_wait", case_nested_wait},
        {"a_signal_on_top_of_ours", case_a_signal_on_top_of_ours},
        {"a_closed_mask_on_top_of_ours", case_a_closed_mask_on_top_of_ours},
        {"cancel", case_cancel},
        {"cancel_asynchronous", case_cancel_asynchronous},
        {"cancel_waits_for_our_handler", case_cancel_waits_for_our_handler},
        {NULL, NULL},
    };
    int status;
    do {
        hardly_interrupted = 0;
        handled = 0;
        status = run_case(cases, argc, argv);
    } while (status == 0 && hardly_interrupted);
    return status;
}
