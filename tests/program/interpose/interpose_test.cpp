// SPDX-License-Identifier: Apache-2.0
//
// Runs the C programs beside this file, a case each, under LD_PRELOAD of the interposition with a
// test agent. They print what failed; a case that hangs is ended by ctest.
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Outcome {
    int status = -1;  // as wait(2) has it
    std::string output;
};

Outcome run(const std::string& program, const char* test_case) {
    const std::string path = TASKWORK_TEST_PROGRAM_DIR "/" + program;
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe(ends.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", TASKWORK_TEST_INTERPOSE_AGENT, 1);
        setenv("TEST_AGENT_TELLS_EXIT", "1", 1);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(path.c_str(), path.c_str(), test_case, nullptr);
        std::perror(path.c_str());
        _exit(127);
    }
    close(ends[1]);
    Outcome outcome;
    std::array<char, 4096> part{};
    for (ssize_t size; (size = read(ends[0], part.data(), part.size())) > 0;) {
        outcome.output.append(part.data(), static_cast<std::size_t>(size));
    }
    close(ends[0]);
    EXPECT_EQ(waitpid(child, &outcome.status, 0), child);
    return outcome;
}

void passes(const char* program, const char* test_case) {
    const Outcome outcome = run(program, test_case);
    EXPECT_TRUE(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 0)
        << "wait status " << outcome.status << "\n"
        << outcome.output;
}

#define TW_WAITS(name, test_case)                                                                  \
    TEST(Waits, name) { passes("interpose_waits", test_case); }
#define TW_MASKS(name, test_case)                                                                  \
    TEST(Masks, name) { passes("interpose_masks", test_case); }
#define TW_HANDLERS(name, test_case)                                                               \
    TEST(Handlers, name) { passes("interpose_handlers", test_case); }
#define TW_STEPS(name, test_case)                                                                  \
    TEST(Steps, name) { passes("interpose_steps", test_case); }
#define TW_THREADS(name, test_case)                                                                \
    TEST(Threads, name) { passes("interpose_threads", test_case); }

TW_WAITS(poll_lasts_its_time_under_our_signals, "poll")
TW_WAITS(ppoll_lasts_its_time_though_its_mask_names_ours, "ppoll")
TW_WAITS(select_lasts_its_time_and_leaves_nothing_of_it, "select")
TW_WAITS(pselect_lasts_its_time_under_our_signals, "pselect")
TW_WAITS(nanosleep_lasts_its_time_and_writes_no_remainder, "nanosleep")
TW_WAITS(clock_nanosleep_lasts_its_time_and_refuses_bad_times, "clock_nanosleep")
TW_WAITS(clock_nanosleep_lasts_until_its_time, "clock_nanosleep_absolute")
TW_WAITS(usleep_lasts_its_time_under_our_signals, "usleep")
TW_WAITS(sleep_lasts_its_time_and_preserves_errno, "sleep")
TW_WAITS(thrd_sleep_lasts_its_time_under_our_signals, "thrd_sleep")
TW_WAITS(sem_timedwait_times_out_under_our_signals, "sem_timedwait")
TW_WAITS(sem_clockwait_times_out_under_our_signals, "sem_clockwait")
TW_WAITS(pause_ends_by_the_application_s_signal_only, "pause")
TW_WAITS(sigsuspend_ends_by_the_application_s_signal_only, "sigsuspend")
TW_WAITS(sigsuspend_misses_no_signal_that_comes_with_ours, "sigsuspend_misses_nothing")
TW_WAITS(signals_of_the_application_still_interrupt, "real_interruption")
TW_WAITS(an_ignored_signal_is_no_interruption, "ignored_is_no_interruption")
TW_WAITS(msgrcv_waits_for_its_message, "msgrcv")
TW_WAITS(msgsnd_waits_for_room, "msgsnd")
TW_WAITS(aio_suspend_times_out_under_our_signals, "aio_suspend")
TW_WAITS(epoll_wait_is_interrupted_as_by_the_kernel_s_own_task_work_K60, "epoll_is_interrupted")
TW_WAITS(a_handler_may_leave_a_wait_by_longjmp, "longjmp")
TW_WAITS(a_wait_in_a_handler_does_not_resume_the_outer_one, "nested_wait")
TW_WAITS(a_signal_that_comes_while_ours_is_served_ends_the_wait, "a_signal_on_top_of_ours")
TW_WAITS(a_signal_that_the_mask_keeps_out_does_not, "a_closed_mask_on_top_of_ours")
TW_WAITS(pthread_cancel_ends_poll, "cancel")
TW_WAITS(asynchronous_cancellation_ends_poll, "cancel_asynchronous")
TW_WAITS(asynchronous_cancellation_waits_for_our_handler, "cancel_waits_for_our_handler")

TW_MASKS(no_way_of_blocking_keeps_ours_out, "every_way_of_blocking")
TW_MASKS(foreign_ones_wait_until_the_mask_opens, "foreign_ones_wait_until_the_mask_opens")
TW_MASKS(sigwait_takes_foreign_ones_only, "sigwait_takes_foreign_ones_only")
TW_MASKS(sigwait_finds_a_foreign_one_in_a_flood_of_ours, "sigwait_under_a_flood")
TW_MASKS(a_waiting_thread_gets_those_sent_to_the_process,
         "a_waiting_thread_gets_those_of_the_process")
TW_MASKS(sigwait_takes_a_foreign_one_that_is_not_blocked, "sigwait_with_an_open_mask")
TW_MASKS(sigsuspend_admits_foreign_ones, "sigsuspend_admits")
TW_MASKS(ppoll_admits_foreign_ones, "ppoll_admits")
TW_MASKS(pselect_admits_foreign_ones, "pselect_admits")
TW_MASKS(epoll_pwait_admits_foreign_ones, "epoll_pwait_admits")
TW_MASKS(sigpause_admits_foreign_ones, "sigpause_admits")
TW_MASKS(bsd_sigpause_admits_foreign_ones, "bsd_sigpause_admits")
TW_MASKS(sigsuspend_loses_no_foreign_one, "sigsuspend_loses_none")
TW_MASKS(ppoll_keeps_foreign_ones_out_until_it_ends, "ppoll_keeps_out")
TW_MASKS(signalfd_does_not_take_ours, "signalfd_does_not_take_ours")
TW_MASKS(new_threads_inherit_what_their_creator_believes, "new_threads_inherit")

TW_HANDLERS(the_application_reads_back_what_it_set, "reads_back_what_it_set")
TW_HANDLERS(other_signals_are_the_application_s, "other_signals_are_the_application_s")
TW_HANDLERS(foreign_ones_reach_the_application_s_handler, "foreign_ones_reach_the_handler")
TW_HANDLERS(its_flags_and_mask_are_obeyed, "flags_and_mask_are_obeyed")
TW_HANDLERS(a_handler_left_by_longjmp_leaves_no_trace, "leaving_a_handler_by_longjmp")
TW_HANDLERS(errno_is_preserved, "errno_is_preserved")
TW_HANDLERS(our_faults_are_recovered_even_where_all_is_blocked, "our_faults_are_recovered")
TW_HANDLERS(the_application_s_faults_are_its_own, "the_application_s_faults_are_its_own")
TW_HANDLERS(faults_and_sent_ones_kill_by_the_default_action, "defaults_still_kill")
TW_HANDLERS(an_8_KiB_alternate_stack_is_left_alone, "an_8k_alternate_stack_is_left_alone")
TW_HANDLERS(waits_on_an_8_KiB_alternate_stack_do_not_open_ours, "waits_on_an_8k_alternate_stack")
TW_HANDLERS(of_two_pending_ones_neither_is_lost_on_an_alternate_stack,
            "two_pending_on_an_alternate_stack")
TW_HANDLERS(foreign_ones_wait_until_ours_is_served, "foreign_ones_wait_until_ours_is_served")
TW_HANDLERS(longjmp_from_an_alternate_stack_does_not_keep_ours_out,
            "longjmp_from_an_alternate_stack")
TW_HANDLERS(handlers_with_full_masks_keep_out_only_what_the_application_handles, "full_masks")
TW_HANDLERS(dispositions_are_read_whole_while_they_change, "concurrent_changes")
TW_HANDLERS(a_vfork_child_changes_nothing_of_its_parent, "vfork")
TW_HANDLERS(fork_and_Fork_tell_their_child_once, "fork")

TW_THREADS(a_thread_that_returns_is_told_of, "return")
TW_THREADS(a_thread_that_exits_is_told_of, "pthread_exit")
TW_THREADS(C11_threads_are_told_of_and_keep_their_results, "thrd_create")
TW_THREADS(the_application_s_destructors_are_covered, "destructors_are_covered")
TW_THREADS(a_thousand_threads_are_told_of, "a_thousand_threads")
TW_THREADS(a_thread_that_cannot_be_made_is_not_told_of, "refused")

TW_STEPS(sigsuspend_loses_none_at_any_instruction, "sigsuspend_thread")
TW_STEPS(sigsuspend_loses_none_of_the_process_at_any_instruction, "sigsuspend_process")
TW_STEPS(ppoll_loses_none_at_any_instruction, "ppoll_thread")
TW_STEPS(ppoll_loses_none_of_the_process_at_any_instruction, "ppoll_process")
TW_STEPS(sigwait_loses_none_at_any_instruction, "sigwait_thread")
TW_STEPS(sigwait_loses_none_of_the_process_at_any_instruction, "sigwait_process")
TW_STEPS(masks_lose_none_at_any_instruction, "masks")
TW_STEPS(masks_lose_none_of_the_process_at_any_instruction, "masks_process")
TW_STEPS(ours_may_come_at_any_instruction, "ours")
TW_STEPS(none_that_is_resent_merges_with_ours, "resent")

void tells_exit_once(const char* test_case) {
    const Outcome outcome = run("interpose_threads", test_case);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.output, "process exiting\n");
}

TEST(Threads, exit_is_told_once) { tells_exit_once("exit"); }
TEST(Threads, the_end_of_the_last_thread_is_an_exit) { tells_exit_once("main_leaves_first"); }

TEST(Masks, one_that_a_program_inherits_is_its_wish) {
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    sigset_t before;
    ASSERT_EQ(sigprocmask(SIG_BLOCK, &urgent, &before), 0);
    passes("interpose_masks", "inherited");
    ASSERT_EQ(sigprocmask(SIG_SETMASK, &before, nullptr), 0);
}

TEST(Programs, fail_without_the_agent) {
    const std::string path = TASKWORK_TEST_PROGRAM_DIR "/interpose_waits poll 2>/dev/null";
    EXPECT_EQ(WEXITSTATUS(std::system(path.c_str())), 3);
}

}  // namespace
