// SPDX-License-Identifier: Apache-2.0
//
// Where the preload library begins: after libc's own functions have been looked up (libc.cpp, by a
// constructor of higher priority) and before the program's constructors and main.
#include "agent/join.hpp"

namespace {

__attribute__((constructor)) void preloaded() { taskwork::agent::start(); }

}  // namespace
