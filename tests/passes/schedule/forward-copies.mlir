// RUN: forward-copies
// What computes a temporary writes at once where the temporary would be copied to; the temporary is gone.
builtin.module {
  "imc.buffer"() <{sym_name = "x", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "y", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "64", kept = false}> : () -> ()
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64, values = [{operation = 1 : i64, names = ["t"], view = #imc.view<"a", "0", "float32", ["2", "2"], ["2", "1"]>}]}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"x", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.copy"() <{dst = #imc.view<"y", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK-NOT: sym_name = "a"
// CHECK: "imc.block"() <{{{.*}} values = [{operation = 1 : i64, names = ["t"], view = #imc.view<"y", "0", "float32", ["2", "2"], ["2", "1"]>}]
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"y", {{.*}} src = #imc.view<"x",
// CHECK-NOT: toyvec.copy
// -----
// A copy stays where its target is read in between.
builtin.module {
  "imc.buffer"() <{sym_name = "x", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "y", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.buffer"() <{sym_name = "a", space = "mem", size = "64", kept = false}> : () -> ()
  "imc.buffer"() <{sym_name = "b", space = "mem", size = "64", kept = true}> : () -> ()
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"x", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.act"() <{dst = #imc.view<"b", "0", "float32", ["4"], ["1"]>, src = #imc.view<"y", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 1.0 : f64}> {engine = "v"} : () -> ()
    "toyvec.copy"() <{dst = #imc.view<"y", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: "imc.block"
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"a", {{.*}} src = #imc.view<"x",
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"b", {{.*}} src = #imc.view<"y",
// CHECK-NEXT: "toyvec.copy"() <{dst = #imc.view<"y", {{.*}} src = #imc.view<"a",
