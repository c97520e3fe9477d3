// SPDX-License-Identifier: Apache-2.0
//
// Where a JSON report goes (--json=FILE). Opened before the work: a path that cannot be written is
// an error before it and not after it.
#pragma once

#include <string>

#include "base/result.hpp"

namespace taskwork::cli {

class JsonFile {
public:
    JsonFile() = default;
    /// A file that was made and not written is removed.
    ~JsonFile();
    JsonFile(const JsonFile&) = delete;
    JsonFile& operator=(const JsonFile&) = delete;

    /// Empty: no report is wanted; "-": standard output. Errors name option and path.
    /// Context: task.
    Result<void> open(const std::string& path);
    [[nodiscard]] bool is_wanted() const { return !path_.empty(); }
    /// Once. Errors name option and path. Context: task.
    Result<void> write(const std::string& text);

private:
    std::string path_;
    int descriptor_ = -1;
    bool is_new_ = false;
};

}  // namespace taskwork::cli
