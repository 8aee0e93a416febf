// RUN: allocate-buffers
// Kept buffers have places of their own; a and c, never in use at once, share one.
builtin.module {
  "imc.buffer"() <{sym_name = "x", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "y", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "64", kept = false}> : () -> ()
  "imc.buffer"() <{sym_name = "b", space = "mem", size = "64", kept = false}> : () -> ()
  "imc.buffer"() <{sym_name = "c", space = "mem", size = "64", kept = false}> : () -> ()
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"x", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"b", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"c", "0", "float32", ["4"], ["1"]>, src = #imc.view<"b", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"y", "0", "float32", ["4"], ["1"]>, src = #imc.view<"c", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: sym_name = "x", {{.*}} address = [[X:[0-9]+]] : i64
// CHECK: sym_name = "y", {{.*}} address = [[Y:[0-9]+]] : i64
// CHECK: sym_name = "a", {{.*}} address = [[A:[0-9]+]] : i64
// CHECK: sym_name = "b", {{.*}} address = [[B:[0-9]+]] : i64
// CHECK: sym_name = "c", {{.*}} address = [[A]] : i64
