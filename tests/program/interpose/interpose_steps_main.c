/* SPDX-License-Identifier: Apache-2.0
 *
 * A signal after every single instruction of the replaced functions, by the trap flag: none is
 * lost, none ends a call that it should not, wherever it comes.
 */
#include "common.h"

#include <poll.h>
#include <sys/select.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100

static atomic_int handled;
static atomic_int sent;
static atomic_int sleeper; /* the thread under test, while the helper is to look after it */
static volatile long steps_left;
static void (*send)(void);

static pid_t self(void) { return (pid_t)syscall(SYS_gettid); }

static void count_signal(int number) {
    (void)number;
    ++handled;
}

static void foreign_to_thread(void) { send_foreign(self()); }
static void foreign_to_process(void) { kill(getpid(), SIGURG); }
static void ours(void) { send_ours(self()); }

static void step(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)info;
    if (--steps_left <= 0) {
        ((ucontext_t*)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        if (!sent) {
            sent = 1;
            send();
        }
    }
}

static inline void step_on(void) {
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static inline void step_off(void) {
    __asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

/* If the thread has gone to sleep before its step came, sends from outside. */
static void* helper(void* unused) {
    (void)unused;
    for (;;) {
        const pid_t tid = sleeper;
        if (tid == 0) {
            pass_ns(1000);
            continue;
        }
        char path[64], text[16];
        snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
        FILE* file = fopen(path, "r");
        CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
        fclose(file);
        const int number = atoi(text);
        if ((number == SYS_rt_sigsuspend || number == SYS_ppoll || number == SYS_rt_sigtimedwait) &&
            sleeper == tid && atomic_exchange(&sent, 1) == 0) {
            send_foreign(tid);
        }
    }
    return NULL;
}

static sigset_t urgent(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    return set;
}

static void set_up(void) {
    struct sigaction trap = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    struct sigaction count = {.sa_handler = count_signal};
    sigset_t set = urgent();
    CHECK(sigaction(SIGTRAP, &trap, NULL) == 0 && sigaction(SIGURG, &count, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

/* Calls `wait` once for each of its instructions at which a signal can come; it must end each time,
 * by that signal. */
static void step_through(int (*wait)(void), int counts, void (*how)(void)) {
    pthread_t thread;
    long steps = 0;
    set_up();
    send = how;
    CHECK(pthread_create(&thread, NULL, helper, NULL) == 0);
    do {
        ++steps;
        handled = sent = 0;
        steps_left = steps;
        sleeper = self();
        step_on();
        const int result = wait();
        step_off();
        sleeper = 0;
        CHECK(result == 0 && handled == counts && sent == 1);
    } while (steps_left <= 0); /* else the call took fewer */
    CHECK(steps > 50);
}

static int wait_sigsuspend(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none) == -1 && errno == EINTR ? 0 : -1;
}

static int wait_ppoll(void) {
    sigset_t none;
    sigemptyset(&none);
    return ppoll(NULL, 0, NULL, &none) == -1 && errno == EINTR ? 0 : -1;
}

static int wait_sigwait(void) {
    sigset_t set = urgent();
    int number = 0;
    return sigwait(&set, &number) == 0 && number == SIGURG ? 0 : -1;
}

static void case_sigsuspend_thread(void) { step_through(wait_sigsuspend, 1, foreign_to_thread); }
static void case_sigsuspend_process(void) { step_through(wait_sigsuspend, 1, foreign_to_process); }
static void case_ppoll_thread(void) { step_through(wait_ppoll, 1, foreign_to_thread); }
static void case_ppoll_process(void) { step_through(wait_ppoll, 1, foreign_to_process); }
static void case_sigwait_thread(void) { step_through(wait_sigwait, 0, foreign_to_thread); }
static void case_sigwait_process(void) { step_through(wait_sigwait, 0, foreign_to_process); }

/* Calls that do not wait. */
static void step_over(void (*call)(void), long stride, void (*how)(void), void (*check)(void)) {
    long steps = 1 - stride;
    set_up();
    send = how;
    do {
        steps += stride;
        handled = sent = 0;
        steps_left = steps;
        step_on();
        call();
        step_off();
        if (!sent) {
            break;
        }
        check();
    } while (1);
    CHECK(steps > 50);
}

static void open_and_close(void) {
    sigset_t set = urgent();
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Handled, or pending, exactly once. */
static void check_once(void) {
    sigset_t set = urgent();
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && handled == 1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

static void case_masks(void) { step_over(open_and_close, 1, foreign_to_thread, check_once); }
static void case_masks_process(void) {
    step_over(open_and_close, 1, foreign_to_process, check_once);
}

static long served;
static void check_served(void) { CHECK(*test_agent.served == ++served && handled == 0); }

static void set_handler(void) {
    struct sigaction action = {.sa_handler = count_signal}, old;
    sigaction(SIGURG, &action, &old);
}

static void case_ours(void) {
    step_over(open_and_close, 1, ours, check_served);
    step_over(set_handler, 17, ours, check_served); /* long loops that copy words */
}

/* One that came while the handler ran, and that is resent when it ends, where one of ours is
 * pending by then: the kernel would merge the two. */
static void send_another(int number) {
    (void)number;
    if (++handled == 1) {
        CHECK(send_foreign(self()) == 0 && handled == 1);
        step_on();
    }
}

static void case_resent(void) {
    struct sigaction action = {.sa_handler = send_another};
    sigset_t set = urgent();
    long steps = 0;
    set_up();
    send = ours;
    CHECK(sigaction(SIGURG, &action, NULL) == 0 && sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    for (;;) {
        handled = sent = 0;
        steps_left = ++steps;
        CHECK(send_foreign(self()) == 0 && handled == 2);
        if (!sent) {
            break;
        }
    }
    CHECK(steps > 50);
}

int main(int argc, char** argv) {
    static const struct test_case cases[] = {
        {"sigsuspend_thread", case_sigsuspend_thread},
        {"sigsuspend_process", case_sigsuspend_process},
        {"ppoll_thread", case_ppoll_thread},
        {"ppoll_process", case_ppoll_process},
        {"sigwait_thread", case_sigwait_thread},
        {"sigwait_process", case_sigwait_process},
        {"masks", case_masks},
        {"masks_process", case_masks_process},
        {"ours", case_ours},
        {"resent", case_resent},
        {NULL, NULL},
    };
    return run_case(cases, argc, argv);
}
