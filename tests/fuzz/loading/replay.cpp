// SPDX-License-Identifier: Apache-2.0
//
// Runs each input of a folder once: for builds that have no libFuzzer. `replay FOLDER`
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "host.hpp"

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    taskwork::fuzz::require(!paths.empty(), "there are inputs");
    taskwork::fuzz::start_host();
    for (const std::filesystem::path& path : paths) {
        std::ifstream file(path, std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        std::fprintf(stderr, "%s: %zu bytes\n", path.c_str(), bytes.size());
        taskwork::fuzz::run_input(std::as_bytes(std::span(bytes)));
    }
    std::fprintf(stderr, "%zu inputs\n", paths.size());
    return 0;
}
