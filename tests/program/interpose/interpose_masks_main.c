/* SPDX-License-Identifier: Apache-2.0
 *
 * libc's mask functions: the application sees the mask that it set, ours get through all the same,
 * and foreign SIGURGs obey it.
 */
#include "common.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#define BSD_MASK(number) (1 << ((number) - 1))

extern int bsd_sigpause(int mask) __asm__("sigpause");

static atomic_int handled;
static siginfo_t last;

static void record(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)context;
    last = *info;
    ++handled;
}

static void handle(void) {
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
}

static pid_t self(void) { return (pid_t)syscall(SYS_gettid); }

static sigset_t urgent(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    return set;
}

/* Ours are served at once, synchronously, whatever the application has blocked. */
static void check_open(void) {
    const long before = *test_agent.served;
    CHECK(send_ours(self()) == 0);
    CHECK(*test_agent.served == before + 1);
}

static int is_blocked(void) {
    sigset_t set;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
    return sigismember(&set, SIGURG);
}

static int is_pending(void) {
    sigset_t set;
    CHECK(sigpending(&set) == 0);
    return sigismember(&set, SIGURG);
}

static void case_every_way_of_blocking(void) {
    sigset_t all, set = urgent(), old;
    sigfillset(&all);
    CHECK(!is_blocked());

    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0 && !sigismember(&old, SIGURG));
    CHECK(is_blocked());
    check_open();
    CHECK(sigprocmask(SIG_SETMASK, &old, &all) == 0);
    CHECK(sigismember(&all, SIGURG) && sigismember(&all, SIGTERM) && !is_blocked());

    CHECK(pthread_sigmask(SIG_BLOCK, &set, &old) == 0 && !sigismember(&old, SIGURG));
    CHECK(is_blocked());
    check_open();
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, &old) == 0 && sigismember(&old, SIGURG));
    CHECK(!is_blocked());

    CHECK(sighold(SIGURG) == 0 && is_blocked());
    check_open();
    CHECK(sigrelse(SIGURG) == 0 && !is_blocked());

    CHECK(sigblock(BSD_MASK(SIGURG)) == 0 && is_blocked());
    check_open();
    int (*get_mask)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "siggetmask"); /* obsolete */
    CHECK(get_mask() == BSD_MASK(SIGURG));
    CHECK(sigsetmask(BSD_MASK(SIGUSR1)) == BSD_MASK(SIGURG) && !is_blocked());
    CHECK(sigsetmask(0) == BSD_MASK(SIGUSR1));

    CHECK(sigset(SIGURG, SIG_HOLD) == SIG_DFL && is_blocked());
    check_open();
    CHECK(sigset(SIGURG, SIG_IGN) == SIG_HOLD && !is_blocked());

    CHECK(pthread_sigmask(77, &set, NULL) == EINVAL);
    CHECK(sigprocmask(77, &set, NULL) == -1 && errno == EINVAL);
    CHECK(!is_blocked());
}

static void case_foreign_ones_wait_until_the_mask_opens(void) {
    sigset_t set = urgent();
    handle();
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(send_foreign(self()) == 0);
    CHECK(send_foreign(self()) == 0); /* coalesces */
    check_open();
    CHECK(handled == 0 && is_pending());
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(handled == 1 && !is_pending());
    CHECK(last.si_code == SI_TKILL && last.si_pid == getpid());

    /* Sent to the process, and seen as such. */
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGURG) == 0);
    CHECK(handled == 1 && is_pending());
    sigset_t none;
    sigemptyset(&none);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    CHECK(handled == 2 && last.si_code == SI_USER && last.si_pid == getpid());

    /* What is pending when nobody handles it is discarded. */
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(send_foreign(self()) == 0);
    signal(SIGURG, SIG_DFL);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && !is_pending());
    handle();
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && handled == 2);
}

static void case_sigwait_takes_foreign_ones_only(void) {
    sigset_t set = urgent();
    siginfo_t info;
    int number = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);

    /* Pending before the wait. */
    CHECK(send_foreign(self()) == 0);
    CHECK(sigwait(&set, &number) == 0 && number == SIGURG && !is_pending());
    CHECK(kill(getpid(), SIGURG) == 0);
    CHECK(sigwaitinfo(&set, &info) == SIGURG && info.si_code == SI_USER && info.si_pid == getpid());

    /* None comes; ours are served, and end the wait, as they end one for other signals. */
    struct timespec timeout = {0, 20000000};
    CHECK(sigtimedwait(&set, &info, &timeout) == -1 && errno == EAGAIN);
    struct flood flood;
    flood_begin(&flood);
    await_served(1);
    const long served = *test_agent.served;
    timeout.tv_sec = 100;
    CHECK(sigtimedwait(&set, &info, &timeout) == -1 && errno == EINTR);
    CHECK(*test_agent.served > served);
    flood_end(&flood);
    CHECK(is_blocked());
    check_open();
}

static pid_t waiter;
static int whole_process;
static atomic_int received;

/* Sends until one has arrived: one that meets ours still pending coalesces with it, as any two
 * standard signals do. */
static void* send_later(void* unused) {
    (void)unused;
    await_served(20);
    while (!received) {
        CHECK(whole_process ? kill(getpid(), SIGURG) == 0 : send_foreign(waiter) == 0);
        pass_ns(3000000);
    }
    return NULL;
}

static void join_sender(pthread_t thread) {
    received = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    received = 0;
}

static pthread_t later(int process) {
    pthread_t thread;
    waiter = self();
    whole_process = process;
    CHECK(pthread_create(&thread, NULL, send_later, NULL) == 0);
    return thread;
}

static void case_sigwait_under_a_flood(void) {
    sigset_t all;
    int number = 0;
    struct flood flood;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    flood_begin(&flood);
    for (int i = 0; i < 20; ++i) {
        pthread_t thread = later(i & 1);
        number = 0;
        CHECK(sigwait(&all, &number) == 0 && number == SIGURG);
        join_sender(thread);
    }
    flood_end(&flood);
}

/* The usual arrangement: all threads block, one waits; the kernel picks the main thread for what is
 * sent to the process, and it must come to the one that waits. */
static void* wait_for_urgent(void* unused) {
    (void)unused;
    sigset_t set = urgent();
    int number = 0;
    for (int i = 0; i < 100; ++i) {
        CHECK(sigwait(&set, &number) == 0 && number == SIGURG);
        ++handled;
    }
    return NULL;
}

static void case_a_waiting_thread_gets_those_of_the_process(void) {
    sigset_t set = urgent();
    pthread_t thread;
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, wait_for_urgent, NULL) == 0);
    for (int i = 0; i < 100; ++i) {
        CHECK(kill(getpid(), SIGURG) == 0);
        while (handled == i) {
            pass_ns(10000);
        }
    }
    pthread_join(thread, NULL);
    CHECK(!is_pending());
}

/* Not asked for by POSIX, but so it is on Linux: a wait takes the signal even if it is not blocked.
 */
static void* send_into_wait(void* unused) {
    (void)unused;
    await_wait(waiter);
    const long served = *test_agent.served;
    CHECK(send_ours(waiter) == 0);
    while (*test_agent.served == served) { /* while it is pending the other would be lost in it */
        pass_ns(10000);
    }
    await_wait(waiter);
    CHECK(send_foreign(waiter) == 0);
    return NULL;
}

static void case_sigwait_with_an_open_mask(void) {
    sigset_t set = urgent();
    pthread_t thread;
    int number = 0;
    handle();
    waiter = self();
    CHECK(pthread_create(&thread, NULL, send_into_wait, NULL) == 0);
    CHECK(sigwait(&set, &number) == 0 && number == SIGURG && handled == 0);
    CHECK(*test_agent.served == 1);
    pthread_join(thread, NULL);
    CHECK(send_foreign(self()) == 0 && handled == 1);
}

static int suspend(const sigset_t* mask) { return sigsuspend(mask); }
static int wait_ppoll(const sigset_t* mask) { return ppoll(NULL, 0, NULL, mask); }
static int wait_pselect(const sigset_t* mask) { return pselect(0, NULL, NULL, NULL, NULL, mask); }
static int wait_epoll(const sigset_t* mask) {
    static int epoll = -1;
    struct epoll_event event;
    if (epoll < 0) {
        epoll = epoll_create1(0);
    }
    for (;;) { /* which ours interrupt */
        const int before = handled;
        const int result = epoll_pwait(epoll, &event, 1, -1, mask);
        if (result != -1 || errno != EINTR || handled != before) {
            return result;
        }
    }
}
static int wait_sigpause(const sigset_t* mask) {
    (void)mask;
    return sigpause(SIGURG);
}
static int wait_bsd_sigpause(const sigset_t* mask) {
    (void)mask;
    return bsd_sigpause(0);
}

/* A mask that opens for the time of a wait admits what was pending, and what comes. */
static void admit(int (*wait)(const sigset_t*)) {
    sigset_t set = urgent(), open;
    struct flood flood;
    handle();
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    sigemptyset(&open);

    CHECK(send_foreign(self()) == 0 && handled == 0);
    CHECK(wait(&open) == -1 && errno == EINTR && handled == 1);

    flood_begin(&flood);
    for (int i = 0; i < 10; ++i) {
        pthread_t thread = later(i & 1);
        const int before = handled;
        CHECK(wait(&open) == -1 && errno == EINTR && handled > before);
        join_sender(thread);
    }
    flood_end(&flood);
    CHECK(is_blocked());
    check_open();
    const int before = handled;
    CHECK(send_foreign(self()) == 0 && handled == before);
}

static void case_sigsuspend_admits(void) { admit(suspend); }
static void case_ppoll_admits(void) { admit(wait_ppoll); }
static void case_pselect_admits(void) { admit(wait_pselect); }
static void case_epoll_pwait_admits(void) { admit(wait_epoll); }
static void case_sigpause_admits(void) { admit(wait_sigpause); }
static void case_bsd_sigpause_admits(void) { admit(wait_bsd_sigpause); }

/* None is lost between the look at what is pending and the wait. */
static atomic_int rounds_left;
static void* send_rounds(void* unused) {
    (void)unused;
    while (rounds_left > 0) {
        const int round = rounds_left;
        for (volatile int i = 0; i < round % 1000; ++i) { /* meets each of its instructions */
        }
        CHECK(kill(getpid(), SIGURG) == 0);
        while (rounds_left == round) {
        }
    }
    return NULL;
}

static void case_sigsuspend_loses_none(void) {
    sigset_t set = urgent(), open;
    pthread_t thread;
    handle();
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    sigemptyset(&open);
    rounds_left = 20000;
    CHECK(pthread_create(&thread, NULL, send_rounds, NULL) == 0);
    while (rounds_left > 0) {
        CHECK(sigsuspend(&open) == -1 && errno == EINTR);
        --rounds_left;
    }
    pthread_join(thread, NULL);
    CHECK(handled == 20000);
}

/* And a mask that closes keeps foreign ones out for that time; they come when it ends. */
static atomic_int closed;
static void check_opened(int number) {
    (void)number;
    CHECK(!closed);
    ++handled;
}

static void* send_into_ppoll(void* pipe_end) {
    await_wait(waiter);
    const long served = *test_agent.served;
    CHECK(send_foreign(waiter) == 0);
    while (*test_agent.served < served + 20) {
        CHECK(send_ours(waiter) == 0);
        pass_ns(200000);
    }
    closed = 0;
    CHECK(write(*(int*)pipe_end, "x", 1) == 1);
    return NULL;
}

static void case_ppoll_keeps_out(void) {
    sigset_t all;
    struct sigaction action = {.sa_handler = check_opened};
    int pipes[2];
    pthread_t thread;
    CHECK(pipe(pipes) == 0);
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
    sigfillset(&all);
    closed = 1;
    waiter = self();
    CHECK(pthread_create(&thread, NULL, send_into_ppoll, &pipes[1]) == 0);
    struct pollfd poll = {.fd = pipes[0], .events = POLLIN};
    CHECK(ppoll(&poll, 1, NULL, &all) == 1);
    CHECK(handled == 1 && !is_pending());
    pthread_join(thread, NULL);
}

static void case_signalfd_does_not_take_ours(void) {
    sigset_t set = urgent();
    struct signalfd_siginfo info;
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    const int fd = signalfd(-1, &set, SFD_NONBLOCK);
    CHECK(fd >= 0);
    check_open();
    CHECK(read(fd, &info, sizeof info) == -1 && errno == EAGAIN);
    CHECK(raise(SIGUSR1) == 0);
    CHECK(read(fd, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo == SIGUSR1);
}

static void* check_inherited(void* expected) {
    CHECK(is_blocked() == (expected != NULL));
    check_open();
    return NULL;
}

static void case_new_threads_inherit(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t set = urgent(), none;
    sigemptyset(&none);
    CHECK(pthread_create(&thread, NULL, check_inherited, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, check_inherited, &set) == 0);
    pthread_join(thread, NULL);

    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setsigmask_np(&attributes, &none) == 0);
    CHECK(pthread_create(&thread, &attributes, check_inherited, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(pthread_attr_setsigmask_np(&attributes, &set) == 0);
    CHECK(pthread_create(&thread, &attributes, check_inherited, &set) == 0);
    pthread_join(thread, NULL);
}

/* The parent has blocked it. */
static void case_inherited(void) {
    CHECK(is_blocked());
    check_open();
    handle();
    CHECK(send_foreign(self()) == 0 && handled == 0 && is_pending());
    sigset_t set = urgent();
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && handled == 1);
}

int main(int argc, char** argv) {
    static const struct test_case cases[] = {
        {"every_way_of_blocking", case_every_way_of_blocking},
        {"foreign_ones_wait_until_the_mask_opens", case_foreign_ones_wait_until_the_mask_opens},
        {"sigwait_takes_foreign_ones_only", case_sigwait_takes_foreign_ones_only},
        {"sigwait_under_a_flood", case_sigwait_under_a_flood},
        {"a_waiting_thread_gets_those_of_the_process",
         case_a_waiting_thread_gets_those_of_the_process},
        {"sigwait_with_an_open_mask", case_sigwait_with_an_open_mask},
        {"sigsuspend_admits", case_sigsuspend_admits},
        {"ppoll_admits", case_ppoll_admits},
        {"pselect_admits", case_pselect_admits},
        {"epoll_pwait_admits", case_epoll_pwait_admits},
        {"sigpause_admits", case_sigpause_admits},
        {"bsd_sigpause_admits", case_bsd_sigpause_admits},
        {"sigsuspend_loses_none", case_sigsuspend_loses_none},
        {"ppoll_keeps_out", case_ppoll_keeps_out},
        {"signalfd_does_not_take_ours", case_signalfd_does_not_take_ours},
        {"new_threads_inherit", case_new_threads_inherit},
        {"inherited", case_inherited},
        {NULL, NULL},
    };
    return run_case(cases, argc, argv);
}
