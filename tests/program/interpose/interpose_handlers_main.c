/* SPDX-License-Identifier: Apache-2.0
 *
 * libc's handler functions: the application reads back what it set and gets what is its own, while
 * our handlers stay installed.
 */
#include "common.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <ucontext.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* Declared for old standards only. */
extern sighandler_t bsd_signal(int number, sighandler_t handler);

struct kernel_sigaction {
    void* handler;
    unsigned long flags;
    void* restorer;
    unsigned long mask;
};

static struct kernel_sigaction installed(int number) {
    struct kernel_sigaction action;
    CHECK(syscall(SYS_rt_sigaction, number, NULL, &action, 8) == 0);
    return action;
}

static pid_t self(void) { return (pid_t)syscall(SYS_gettid); }

static atomic_int handled;
static siginfo_t last;
static uintptr_t last_stack;
static ucontext_t* last_context;

static void record(int number, siginfo_t* info, void* context) {
    char here;
    (void)number;
    last = *info;
    last_context = context;
    last_stack = (uintptr_t)&here;
    ++handled;
}

static void count_signal(int number) {
    (void)number;
    ++handled;
}

static void check_open(void) {
    const long before = *test_agent.served;
    CHECK(send_ours(self()) == 0);
    CHECK(*test_agent.served == before + 1);
}

static void case_reads_back_what_it_set(void) {
    static const int owned[] = {SIGURG, SIGSEGV, SIGBUS};
    for (int i = 0; i < 3; ++i) {
        const int number = owned[i];
        struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO | SA_NODEFER};
        struct sigaction old;
        const void* ours = installed(number).handler;
        CHECK(sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
        sigfillset(&action.sa_mask);
        CHECK(sigaction(number, &action, &old) == 0 && old.sa_handler == SIG_DFL);
        CHECK(sigaction(number, NULL, &old) == 0 && old.sa_sigaction == record);
        CHECK(old.sa_flags == (SA_SIGINFO | SA_NODEFER));
        CHECK(memcmp(&old.sa_mask, &action.sa_mask, 8) == 0);
        CHECK(installed(number).handler == ours && ours != (void*)record);
        CHECK(signal(number, SIG_IGN) == (sighandler_t)(void (*)(void))record);
        CHECK(bsd_signal(number, count_signal) == SIG_IGN);
        CHECK(sigaction(number, NULL, &old) == 0 && (old.sa_flags & SA_RESTART) != 0);
        CHECK(siginterrupt(number, 1) == 0);
        CHECK(sigaction(number, NULL, &old) == 0 && (old.sa_flags & SA_RESTART) == 0);
        CHECK(ssignal(number, count_signal) == count_signal);
        CHECK(sigaction(number, NULL, &old) == 0 && (old.sa_flags & SA_RESTART) == 0);
        CHECK(sigismember(&old.sa_mask, number) == 1);
        CHECK(siginterrupt(number, 0) == 0);
        CHECK(sysv_signal(number, count_signal) == count_signal);
        CHECK(sigaction(number, NULL, &old) == 0);
        CHECK(old.sa_flags == (int)(SA_RESETHAND | SA_NODEFER) && sigisemptyset(&old.sa_mask));
        CHECK(sigset(number, SIG_DFL) == count_signal && sigignore(number) == 0);
        CHECK(signal(number, SIG_DFL) == SIG_IGN);
        CHECK(installed(number).handler == ours);
    }
    check_open();
    CHECK(signal(65, count_signal) == SIG_ERR && errno == EINVAL);
    CHECK(signal(SIGKILL, count_signal) == SIG_ERR && errno == EINVAL);
    struct sigaction action;
    CHECK(sigaction(0, NULL, &action) == -1 && errno == EINVAL);
    CHECK(sigaction(SIGKILL, NULL, &action) == 0);
}

/* Those of other signals behave as libc's own. */
static void case_other_signals_are_the_application_s(void) {
    struct sigaction action;
    CHECK(signal(SIGUSR1, count_signal) == SIG_DFL);
    CHECK(installed(SIGUSR1).handler == (void*)count_signal);
    CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR1) == 0 && handled == 2);
    CHECK(sysv_signal(SIGUSR1, count_signal) == count_signal);
    CHECK(raise(SIGUSR1) == 0 && handled == 3);
    CHECK(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(sigset(SIGUSR1, SIG_HOLD) == SIG_DFL);
    CHECK(sigset(SIGUSR1, SIG_IGN) == SIG_HOLD);
    CHECK(sigset(SIGUSR1, SIG_DFL) == SIG_IGN);
}

static void case_foreign_ones_reach_the_handler(void) {
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
    check_open(); /* not the application's business */
    CHECK(send_foreign(self()) == 0 && handled == 0);
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
    errno = 77;
    CHECK(send_foreign(self()) == 0 && handled == 1 && errno == 77);
    CHECK(last.si_signo == SIGURG && last.si_code == SI_TKILL && last.si_pid == getpid());
    CHECK(last_context != NULL);
    CHECK(kill(getpid(), SIGURG) == 0 && handled == 2 && last.si_code == SI_USER);
    CHECK(sigqueue(getpid(), SIGURG, (union sigval){.sival_int = 5}) == 0);
    CHECK(handled == 3 && last.si_code == SI_QUEUE && last.si_value.sival_int == 5);
    CHECK(raise(SIGURG) == 0 && handled == 4);
    CHECK(pthread_kill(pthread_self(), SIGURG) == 0 && handled == 5);
    check_open();
    CHECK(handled == 5);
    CHECK(signal(SIGURG, SIG_IGN) != SIG_ERR);
    CHECK(send_foreign(self()) == 0 && handled == 5);
    check_open();
}

static int depth, deepest;
static volatile int in_handler_usr1;

static void usr1(int number) {
    (void)number;
    in_handler_usr1 = depth;
}

static void nest(int number) {
    (void)number;
    if (++depth > deepest) {
        deepest = depth;
    }
    if (++handled < 3) {
        send_foreign(self());
        raise(SIGUSR1);
        check_open(); /* ours are not deferred */
    }
    --depth;
}

static void case_flags_and_mask_are_obeyed(void) {
    struct sigaction action = {.sa_handler = nest};
    CHECK(signal(SIGUSR1, usr1) == SIG_DFL);
    sigaddset(&action.sa_mask, SIGUSR1);
    in_handler_usr1 = -1;
    CHECK(sigaction(SIGURG, &action, NULL) == 0 && send_foreign(self()) == 0);
    CHECK(handled == 3 && deepest == 1); /* one after the other */
    CHECK(in_handler_usr1 == 0);         /* SIGUSR1 waited until the handler had ended */

    handled = deepest = 0;
    in_handler_usr1 = -1;
    action.sa_flags = SA_NODEFER;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(SIGURG, &action, NULL) == 0 && send_foreign(self()) == 0);
    CHECK(handled == 3 && deepest == 3); /* one on top of the other */
    CHECK(in_handler_usr1 > 0);

    handled = 10;
    action.sa_flags = SA_RESETHAND;
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
    CHECK(send_foreign(self()) == 0 && send_foreign(self()) == 0 && handled == 11);
    CHECK(sigaction(SIGURG, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    check_open();
}

static sigjmp_buf out;

static void leave(int number) {
    (void)number;
    ++handled;
    siglongjmp(out, 1);
}

static void case_leaving_a_handler_by_longjmp(void) {
    CHECK(signal(SIGURG, leave) == SIG_DFL);
    for (volatile int i = 0; i < 100; ++i) {
        if (sigsetjmp(out, 1) == 0) {
            CHECK(send_foreign(self()) == 0);
            CHECK(!"reached");
        }
        CHECK(handled == i + 1);
        check_open();
    }
}

static void case_errno_is_preserved(void) {
    *test_agent.reads = (const char*)8; /* faults, and is recovered */
    errno = 4711;
    check_open();
    CHECK(errno == 4711 && *test_agent.faults_recovered == 1);
}

static char* unmapped(void) {
    char* page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return page;
}

static char* beyond_the_end(void) { /* SIGBUS */
    FILE* file = tmpfile();
    CHECK(file != NULL);
    char* page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
    CHECK(page != MAP_FAILED);
    return page;
}

static void case_our_faults_are_recovered(void) {
    char byte = 0;
    sigset_t all;
    CHECK(test_agent.probe(&byte) == 0);
    CHECK(test_agent.probe(unmapped()) == -1);
    CHECK(test_agent.probe(beyond_the_end()) == -1);
    CHECK(signal(SIGSEGV, count_signal) == SIG_DFL && signal(SIGBUS, SIG_IGN) == SIG_DFL);
    CHECK(test_agent.probe(unmapped()) == -1);
    CHECK(test_agent.probe(beyond_the_end()) == -1);
    CHECK(handled == 0 && *test_agent.faults_recovered == 4);
    /* In our handler also where the thread has blocked everything. */
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    *test_agent.reads = unmapped();
    check_open();
    *test_agent.reads = beyond_the_end();
    check_open();
    CHECK(*test_agent.faults_recovered == 6);
    sigset_t now;
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGSEGV));
}

static char* touched;

static void repair(int number, siginfo_t* info, void* context) {
    record(number, info, context);
    CHECK(mprotect(touched, 4096, PROT_READ | PROT_WRITE) == 0);
}

static char stack_memory[64 * 1024];

static void use_alternate_stack(size_t size) {
    stack_t stack = {.ss_sp = stack_memory, .ss_size = size};
    CHECK(sigaltstack(&stack, NULL) == 0);
}

static int on_alternate_stack(uintptr_t address) {
    return address >= (uintptr_t)stack_memory &&
           address < (uintptr_t)stack_memory + sizeof stack_memory;
}

static void case_the_application_s_faults_are_its_own(void) {
    struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
    touched = unmapped();
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    *(volatile char*)touched = 1;
    CHECK(handled == 1 && last.si_code == SEGV_ACCERR && last.si_addr == touched);
    CHECK(!on_alternate_stack(last_stack));
    CHECK(kill(getpid(), SIGSEGV) == 0 && handled == 2 && last.si_code == SI_USER);

    touched = unmapped();
    use_alternate_stack(sizeof stack_memory);
    action.sa_flags |= SA_ONSTACK;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    *(volatile char*)touched = 1;
    CHECK(handled == 3 && on_alternate_stack(last_stack));
    CHECK(test_agent.probe(unmapped()) == -1 && handled == 3);
}

/* In a child: how does it end? */
static void dies_of(int number, void (*function)(void)) {
    int status;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        function();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (number == 0 ? !WIFEXITED(status) || WEXITSTATUS(status) != 0
                    : !WIFSIGNALED(status) || WTERMSIG(status) != number) {
        fprintf(stderr, "expected %d, got wait status %#x\n", number, status);
        exit(1);
    }
}

static void fault(void) { *(volatile char*)unmapped() = 1; }
static void fault_on_bus(void) { (void)*(volatile char*)beyond_the_end(); }
static void fault_ignored(void) {
    signal(SIGSEGV, SIG_IGN);
    fault();
}
static void sent(void) { kill(getpid(), SIGSEGV); }
static void sent_bus(void) { raise(SIGBUS); }
static void sent_ignored(void) {
    signal(SIGSEGV, SIG_IGN);
    kill(getpid(), SIGSEGV);
    raise(SIGSEGV);
}
static void fault_after_recovery(void) {
    CHECK(test_agent.probe(unmapped()) == -1);
    fault();
}
static void fault_in_handler(int number) {
    (void)number;
    fault();
}
static void fault_twice(void) {
    signal(SIGSEGV, fault_in_handler);
    fault();
}
static void fault_after_reset(void) {
    struct sigaction action = {.sa_sigaction = repair,
                               .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND)};
    touched = unmapped();
    sigaction(SIGSEGV, &action, NULL);
    *(volatile char*)touched = 1;
    CHECK(handled == 1);
    CHECK(test_agent.probe(unmapped()) == -1);
    fault();
}
static void jump_into_nothing(void) { ((void (*)(void))(uintptr_t)0x8000000000000000u)(); }

static void case_defaults_still_kill(void) {
    dies_of(SIGSEGV, fault);
    dies_of(SIGBUS, fault_on_bus);
    dies_of(SIGSEGV, fault_ignored);
    dies_of(SIGSEGV, sent);
    dies_of(SIGBUS, sent_bus);
    dies_of(0, sent_ignored);
    dies_of(SIGSEGV, fault_after_recovery);
    dies_of(SIGSEGV, fault_twice);
    dies_of(SIGSEGV, fault_after_reset);
    dies_of(SIGSEGV, jump_into_nothing);
}

static long served_inside;

static void work_under_flood(int number) {
    sigset_t none, old;
    (void)number;
    const long before = *test_agent.served;
    sigemptyset(&none);
    const long long end = now_ns() + 50000000;
    while (now_ns() < end) {
        /* What the application may do inside does not open it either. */
        CHECK(sigprocmask(SIG_SETMASK, &none, &old) == 0);
        CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    }
    served_inside = *test_agent.served - before;
    ++handled;
}

/* Two signal frames would not fit. */
static void case_an_8k_alternate_stack_is_left_alone(void) {
    struct sigaction action = {.sa_handler = work_under_flood, .sa_flags = SA_ONSTACK};
    struct flood flood;
    use_alternate_stack(8192);
    memset(stack_memory + 8192, 0, sizeof stack_memory - 8192);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK((installed(SIGUSR1).mask & (1ul << (SIGURG - 1))) != 0);
    struct sigaction seen;
    CHECK(sigaction(SIGUSR1, NULL, &seen) == 0 && sigisemptyset(&seen.sa_mask));
    CHECK(seen.sa_handler == work_under_flood && (seen.sa_flags & SA_ONSTACK) != 0);
    flood_begin(&flood);
    await_served(10);
    for (int i = 0; i < 3; ++i) {
        CHECK(raise(SIGUSR1) == 0 && handled == i + 1 && served_inside == 0);
        await_served(1);
    }
    flood_end(&flood);
}

/* Waits that name SIGURG, or whose mask admits it, open it no more than the handler has it. */
static void wait_on_small_stack(int number) {
    (void)number;
    const struct timespec soon = {0, 1000000};
    const int epoll = epoll_create1(0);
    sigset_t none, urgent;
    struct epoll_event event;
    sigemptyset(&none);
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK(epoll >= 0);

    /* A foreign one is taken, none is left open. */
    siginfo_t info;
    CHECK(send_foreign(self()) == 0);
    CHECK(sigtimedwait(&urgent, &info, &soon) == SIGURG && info.si_pid == getpid());
    CHECK(send_foreign(self()) == 0);
    int taken = 0;
    CHECK(sigwait(&urgent, &taken) == 0 && taken == SIGURG);

    const long before = *test_agent.served;
    CHECK(send_ours(self()) == 0 && *test_agent.served == before);
    CHECK(sigtimedwait(&urgent, &info, &soon) == -1 && errno == EAGAIN);
    CHECK(sigtimedwait(&urgent, NULL, &soon) == -1 && errno == EAGAIN);
    const sigset_t* const masks[] = {&none, &urgent};
    for (int i = 0; i < 2; ++i) {
        CHECK(ppoll(NULL, 0, &soon, masks[i]) == 0);
        CHECK(pselect(0, NULL, NULL, NULL, &soon, masks[i]) == 0);
        CHECK(epoll_pwait(epoll, &event, 1, 1, masks[i]) == 0);
        CHECK(raise(SIGUSR2) == 0);
        CHECK(sigsuspend(masks[i]) == -1 && errno == EINTR);
    }
    CHECK(*test_agent.served == before);
    close(epoll);
    ++handled;
}

static void ignore_it(int number) { (void)number; }

static void case_waits_on_an_8k_alternate_stack(void) {
    struct sigaction action = {.sa_handler = wait_on_small_stack, .sa_flags = SA_ONSTACK};
    use_alternate_stack(8192);
    sigaddset(&action.sa_mask, SIGUSR2);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(signal(SIGUSR2, ignore_it) == SIG_DFL);
    const long before = *test_agent.served;
    for (int i = 0; i < 3; ++i) {
        CHECK(raise(SIGUSR1) == 0 && handled == i + 1);
        CHECK(*test_agent.served == before + i + 1); /* it was kept, not lost */
    }
    check_open();
}

static int codes_seen;

static void note_code(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)context;
    codes_seen |= info->si_code == SI_TKILL ? 1 : info->si_code == SI_USER ? 2 : 4;
}

static void open_on_small_stack(int number) {
    sigset_t urgent;
    (void)number;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK(sigprocmask(SIG_UNBLOCK, &urgent, NULL) == 0);
    ++handled;
}

/* One is pending for the thread, one for the process, and the mask opens where neither can be
 * delivered yet: both are, when that handler ends. */
static void case_two_pending_on_an_alternate_stack(void) {
    struct sigaction note = {.sa_sigaction = note_code, .sa_flags = SA_SIGINFO};
    struct sigaction open = {.sa_handler = open_on_small_stack, .sa_flags = SA_ONSTACK};
    sigset_t urgent;
    use_alternate_stack(8192);
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK(sigaction(SIGURG, &note, NULL) == 0 && sigaction(SIGUSR1, &open, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &urgent, NULL) == 0);
    CHECK(send_foreign(self()) == 0 && kill(getpid(), SIGURG) == 0);
    CHECK(codes_seen == 0);
    CHECK(raise(SIGUSR1) == 0 && handled == 1);
    CHECK(codes_seen == 3);
}

static void foreign_on_top(void) {
    const int before = handled;
    CHECK(send_foreign(self()) == 0);
    CHECK(handled == before); /* not on top of ours */
}

static void count_and_leave(int number) {
    (void)number;
    ++handled;
    longjmp(out, 1);
}

/* A foreign one that meets ours while that is served waits for its end, so that the application
 * cannot leave it half done. */
static void case_foreign_ones_wait_until_ours_is_served(void) {
    CHECK(signal(SIGURG, count_signal) == SIG_DFL);
    *test_agent.calls = foreign_on_top;
    CHECK(send_ours(self()) == 0 && handled == 1);
    CHECK(signal(SIGURG, count_and_leave) == count_signal);
    const long before = *test_agent.served;
    if (setjmp(out) == 0) {
        CHECK(send_ours(self()) == 0);
        CHECK(!"reached");
    }
    CHECK(handled == 2 && *test_agent.served == before + 1);
    *test_agent.calls = NULL;
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK(sigprocmask(SIG_UNBLOCK, &urgent, NULL) == 0);
    CHECK(signal(SIGURG, count_signal) == count_and_leave);
    CHECK(send_foreign(self()) == 0 && handled == 3); /* the mark of the left handler is gone */
    check_open();
}

static void leave_alternate_stack(int number) {
    (void)number;
    longjmp(out, 1); /* without the mask */
}

static void case_longjmp_from_an_alternate_stack(void) {
    struct sigaction action = {.sa_handler = leave_alternate_stack, .sa_flags = SA_ONSTACK};
    sigset_t set;
    use_alternate_stack(8192);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    if (setjmp(out) == 0) {
        raise(SIGUSR1);
        CHECK(!"reached");
    }
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    check_open();
}

static void full_mask_handler(int number) {
    (void)number;
    CHECK(send_foreign(self()) == 0);
    served_inside = handled;
}

/* Handlers that block everything do not block ours, unless the application has its own for SIGURG,
 * which they are then to keep out. */
static void check_open_in_handler(int number) {
    (void)number;
    check_open();
    ++handled;
}

static void case_full_masks(void) {
    struct sigaction action = {.sa_handler = check_open_in_handler}, seen;
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && handled == 1);
    CHECK(sigaction(SIGUSR1, NULL, &seen) == 0 && sigismember(&seen.sa_mask, SIGURG));

    action.sa_handler = full_mask_handler;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(signal(SIGURG, count_signal) == SIG_DFL);
    handled = 0;
    CHECK(raise(SIGUSR1) == 0 && served_inside == 0 && handled == 1);
    CHECK(signal(SIGURG, SIG_DFL) == count_signal);
    action.sa_handler = check_open_in_handler;
    CHECK(sigaction(SIGUSR1, &action, &seen) == 0 && sigismember(&seen.sa_mask, SIGURG));
    CHECK(raise(SIGUSR1) == 0 && handled == 2);
}

static void* set_often(void* argument) {
    for (long i = 0; i < 20000; ++i) {
        struct sigaction action = {.sa_handler = count_signal,
                                   .sa_flags = (i & 1) != 0 ? SA_RESTART : SA_NODEFER};
        sigaction(SIGURG, &action, NULL);
    }
    return argument;
}

/* A disposition is read whole while others change it. */
static void case_concurrent_changes(void) {
    pthread_t threads[2];
    CHECK(signal(SIGURG, count_signal) == SIG_DFL);
    for (int i = 0; i < 2; ++i) {
        CHECK(pthread_create(&threads[i], NULL, set_often, NULL) == 0);
    }
    for (int i = 0; i < 20000; ++i) {
        const int before = handled;
        CHECK(send_foreign(self()) == 0 && handled == before + 1);
        struct sigaction action;
        CHECK(sigaction(SIGURG, NULL, &action) == 0);
        CHECK(action.sa_handler == count_signal);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

/* The memory is the parent's: nothing of what the child sets may stick there. */
static void case_vfork(void) {
    struct sigaction action = {.sa_handler = SIG_IGN}, seen;
    sigset_t all;
    int status;
    sigfillset(&all);
    CHECK(signal(SIGURG, count_signal) == SIG_DFL);
    const struct kernel_sigaction before = installed(SIGURG), before_segv = installed(SIGSEGV);
    const pid_t child = vfork();
    if (child == 0) {
        if (sigaction(SIGURG, &action, &seen) != 0 || seen.sa_handler != count_signal ||
            sigaction(SIGSEGV, &action, &seen) != 0 || seen.sa_handler != SIG_DFL ||
            sigprocmask(SIG_SETMASK, &all, NULL) != 0) {
            _exit(1);
        }
        execl("/bin/sh", "sh", "-c", "kill -SEGV $$; exit 42", (char*)NULL);
        _exit(2);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK(sigaction(SIGURG, NULL, &seen) == 0 && seen.sa_handler == count_signal);
    CHECK(sigaction(SIGSEGV, NULL, &seen) == 0 && seen.sa_handler == SIG_DFL);
    CHECK(installed(SIGURG).handler == before.handler && installed(SIGURG).mask == before.mask);
    CHECK(installed(SIGSEGV).handler == before_segv.handler);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &all) == 0 && !sigismember(&all, SIGURG));
    CHECK(send_foreign(self()) == 0 && handled == 1);
    check_open();
}

static void in_child(void) {
    CHECK(*test_agent.forked_children == 1);
    check_open();
    CHECK(signal(SIGURG, count_signal) == SIG_DFL);
    CHECK(send_foreign(self()) == 0 && handled == 1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && send_foreign(self()) == 0 && handled == 1);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && handled == 2);
    CHECK(test_agent.probe(unmapped()) == -1);
    _exit(9);
}

static void case_fork(void) {
    for (int i = 0; i < 2; ++i) {
        int status;
        const pid_t child = i == 0 ? fork() : _Fork();
        CHECK(child >= 0);
        if (child == 0) {
            in_child();
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    }
    CHECK(*test_agent.forked_children == 0);
}

int main(int argc, char** argv) {
    static const struct test_case cases[] = {
        {"reads_back_what_it_set", case_reads_back_what_it_set},
        {"other_signals_are_the_application_s", case_other_signals_are_the_application_s},
        {"foreign_ones_reach_the_handler", case_foreign_ones_reach_the_handler},
        {"flags_and_mask_are_obeyed", case_flags_and_mask_are_obeyed},
        {"leaving_a_handler_by_longjmp", case_leaving_a_handler_by_longjmp},
        {"errno_is_preserved", case_errno_is_preserved},
        {"our_faults_are_recovered", case_our_faults_are_recovered},
        {"the_application_s_faults_are_its_own", case_the_application_s_faults_are_its_own},
        {"defaults_still_kill", case_defaults_still_kill},
        {"waits_on_an_8k_alternate_stack", case_waits_on_an_8k_alternate_stack},
        {"two_pending_on_an_alternate_stack", case_two_pending_on_an_alternate_stack},
        {"foreign_ones_wait_until_ours_is_served", case_foreign_ones_wait_until_ours_is_served},
        {"an_8k_alternate_stack_is_left_alone", case_an_8k_alternate_stack_is_left_alone},
        {"longjmp_from_an_alternate_stack", case_longjmp_from_an_alternate_stack},
        {"full_masks", case_full_masks},
        {"concurrent_changes", case_concurrent_changes},
        {"vfork", case_vfork},
        {"fork", case_fork},
        {NULL, NULL},
    };
    return run_case(cases, argc, argv);
}
