# Must fail: a value is not the expected one.
. "$LAB_DIR/inside/lib.sh"
step "compare"
expect_eq one two "the number"
