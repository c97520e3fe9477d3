// SPDX-License-Identifier: Apache-2.0
//
// The kernel as one that can be asked: kernel_main.cpp in a process of its own.
#pragma once

#include <cstdio>
#include <string>

#include "verifier/load.hpp"

namespace taskwork::bench {

class Kernel {
public:
    /// Starts it with the same subjects. Context: task.
    explicit Kernel(bool is_short);
    ~Kernel();
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    /// Why it cannot be asked; empty if it can. Context: task.
    [[nodiscard]] const std::string& why_not() const { return why_; }
    /// Loads subjects()[number]. Context: task.
    Cost load(std::size_t number);

private:
    bool read_line(std::string& line);

    std::FILE* requests_ = nullptr;
    std::FILE* answers_ = nullptr;
    int pid_ = -1;
    std::string why_;
};

}  // namespace taskwork::bench
