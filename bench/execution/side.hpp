// SPDX-License-Identifier: Apache-2.0
//
// A side of the comparison as one that can be asked: a process of its own, whose libbpf is linked
// so that the kernel answers (kernel_main.cpp), or we (ours_main.cpp), natively or interpreted.
#pragma once

#include <cstddef>
#include <string>

namespace taskwork::bench {

// ---- For the comparison ------------------------------------------------------------------

class Respondent;

/// Median of the runs of kSubjects[row], in ns an operation; 0: `error` says why. Context: task.
double measure(Respondent& side, std::size_t row, unsigned threads, std::string& error);

// ---- For the processes -------------------------------------------------------------------

/// What the two have not in common.
struct Answerer {
    /// Empty: this side is ready. Otherwise what a Respondent says first.
    std::string (*start)();
    /// Waits until memory that was replaced can be used again.
    void (*settle)();
    /// Prepares the object that is opened.
    void (*prepare)(struct bpf_object* object);
    /// Runs a program that is not of type syscall, once. 0, or -errno.
    int (*run_event)(int program);
    /// ns of a run of a program of two instructions.
    double (*measure_empty)(unsigned runs);
};
/// Answers requests until there are no more. Returns the exit status. Context: task.
int serve(int argc, char** argv, const Answerer& answerer);

}  // namespace taskwork::bench
