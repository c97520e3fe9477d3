// SPDX-License-Identifier: Apache-2.0
#include "uapi/diagnosis.hpp"

#include <mutex>
#include <utility>

namespace taskwork::uapi {
namespace {

struct Diagnosis {
    std::mutex lock;
    std::string text;
};

// Never destroyed: descriptors may be closed while the process exits.
Diagnosis& latest() {
    static auto* diagnosis = new Diagnosis;
    return *diagnosis;
}

}  // namespace

void set_diagnosis(std::string text) {
    const std::lock_guard guard(latest().lock);
    latest().text = std::move(text);
}

std::string last_diagnosis() {
    const std::lock_guard guard(latest().lock);
    return latest().text;
}

void clear_diagnosis() { set_diagnosis({}); }

}  // namespace taskwork::uapi
