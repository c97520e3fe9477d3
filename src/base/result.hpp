// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error, with the member names of std::expected, which neither g++ 12 nor
// clang 19 offers in C++20 mode on Debian 12. For set-up only: an Error owns text (one line naming
// cause and object), so it allocates.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/errc.hpp"

namespace taskwork {

/// Why a set-up step failed: the errno that a system call interface would return, and one line for
/// a person that names cause and object.
struct Error {
    std::errc code = no_error;
    std::string text;
};

template <class T>
class [[nodiscard]] Result {
public:
    /// Context: task.
    Result(T value) : value_(std::move(value)) {}
    /// Context: task.
    Result(Error error) : error_(std::move(error)) {}

    /// Context: task.
    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    /// Precondition: has_value().
    /// Context: task.
    [[nodiscard]] T& value() noexcept { return *value_; }
    [[nodiscard]] const T& value() const noexcept { return *value_; }
    T& operator*() noexcept { return *value_; }
    const T& operator*() const noexcept { return *value_; }
    T* operator->() noexcept { return &*value_; }
    const T* operator->() const noexcept { return &*value_; }
    /// Precondition: !has_value().
    /// Context: task.
    [[nodiscard]] const Error& error() const noexcept { return error_; }

private:
    std::optional<T> value_;
    Error error_;
};

/// Result without a value: success or an Error.
template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), failed_(true) {}

    /// Context: task.
    [[nodiscard]] bool has_value() const noexcept { return !failed_; }
    explicit operator bool() const noexcept { return has_value(); }
    /// Precondition: !has_value().
    /// Context: task.
    [[nodiscard]] const Error& error() const noexcept { return error_; }

private:
    Error error_;
    bool failed_ = false;
};

}  // namespace taskwork
