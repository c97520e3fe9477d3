// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/switches.hpp"

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

namespace taskwork::bpf::jit {

namespace {

struct Description {
    const char* variable;
    bool otherwise;
};
constexpr Description kSwitches[] = {
    {"TASKWORK_JIT", true},
    {"TASKWORK_PERF_MAP", false},
    {"TASKWORK_UNWIND", false},
};

bool is_one_of(const char* word, const char* first, const char* second) noexcept {
    return std::strcmp(word, first) == 0 || std::strcmp(word, second) == 0;
}

/// nullopt: it is neither.
std::optional<bool> value_of(const char* word, bool otherwise) noexcept {
    if (word == nullptr || *word == '\0') {
        return otherwise;
    }
    if (is_one_of(word, "on", "1")) {
        return true;
    }
    if (is_one_of(word, "off", "0")) {
        return false;
    }
    return std::nullopt;
}

}  // namespace

bool is_on(Switch which) noexcept {
    assume_task();
    const Description& description = kSwitches[static_cast<unsigned>(which)];
    return value_of(std::getenv(description.variable), description.otherwise)
        .value_or(description.otherwise);
}

Result<void> check_switches() {
    assume_task();
    for (const Description& description : kSwitches) {
        const char* const word = std::getenv(description.variable);
        if (!value_of(word, description.otherwise)) {
            return Error{std::errc::invalid_argument, std::string(description.variable) + "=" +
                                                          word + ": must be on (1) or off (0)"};
        }
    }
    return {};
}

}  // namespace taskwork::bpf::jit
