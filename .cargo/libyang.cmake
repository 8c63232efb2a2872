# Read by CMake when libyang is built (CMAKE_TOOLCHAIN_FILE in config.toml): its tools are not wanted, and a libxxhash
# that happens to be installed would be used, but not linked.
set(ENABLE_TOOLS OFF CACHE BOOL "" FORCE)
set(CMAKE_DISABLE_FIND_PACKAGE_XXHash ON CACHE BOOL "" FORCE)
