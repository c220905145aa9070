/**
 * Prints, for every kernel of some plans, what V8's revectorizer decided about it, and to the error stream their keys in that order,
 * for `planWidening.test.ts`. To be run with `--single-threaded`.
 */
import process from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { encodeModule, markModule } from '../../kernels/wasm/core/assembler.ts'
import { kernelsOf, steps } from './compiledKernels.ts'

const kernels = await kernelsOf(steps)
for (const flag of ['no-liftoff', 'no-wasm-lazy-compilation', 'experimental-wasm-revectorize', 'trace-wasm-revectorize']) setFlagsFromString(`--${flag}`)
// One module, whose functions the trace numbers; its mark keeps it apart from what the device compiled.
const functions = new Map([...kernels.values()].map((kernel, i) => [`k${i}`, kernel.build()]))
void new WebAssembly.Module(markModule(encodeModule(functions, { shared: false, maximum: 1 }), 'traced'))
process.stderr.write([...kernels.keys()].join('\n'))
