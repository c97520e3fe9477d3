// SPDX-License-Identifier: Apache-2.0
#include <taskwork/taskwork.hpp>

#include <cstdio>
#include <cstring>
#include <string>

int main() {
    taskwork::Work work;
    int ran = 0;
    const std::errc error =
        schedule(work, taskwork::this_task(), taskwork::anywhere([&ran]() noexcept { ++ran; }));
    const std::string expected = std::to_string(taskwork::version_major) + "." +
                                 std::to_string(taskwork::version_minor) + "." +
                                 std::to_string(taskwork::version_patch);
    if (error != std::errc{} || ran != 1 || expected != taskwork::version()) {
        std::printf("failed: %d, ran %d, %s\n", static_cast<int>(error), ran, taskwork::version());
        return 1;
    }
    return 0;
}
