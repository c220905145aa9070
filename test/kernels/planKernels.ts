/**
 * Prints, for every kernel of some plans (training steps of two UNets, products, convolutions of few channels, attention, optimisers), what V8's
 * revectorizer decided about it, and to the error stream their keys in that order, for `planWidening.test.ts`. To be run with
 * `--single-threaded`.
 */
import process from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { trainStepSubject, unets } from '../../bench/unets.ts'
import { attentionSubject, chainSubject, convSubject, matmulSubject } from '../../bench/subjects.ts'
import { CpuBackend } from '../../engine/device/cpu/backend.ts'
import { device as open, realize } from '../../engine/index.ts'
import { encodeModule } from '../../kernels/wasm/assembler.ts'
import type { WasmKernel } from '../../kernels/wasm/kernel.ts'

const kernels = new Map<string, WasmKernel>()
const device = await open('cpu', { sharedMemory: false, instructions: 'wide' })
const { backend } = device
if (!(backend instanceof CpuBackend)) throw new Error('no CPU device')
const compile = backend.compile.bind(backend)
backend.compile = async (graph) => {
  const executable = await compile(graph)
  for (const kernel of executable.calls.map((call) => call.kernel)) kernels.set(kernel.key, kernel)
  return executable
}
for (const subject of [...unets.map(trainStepSubject), matmulSubject(64, 'aTb'), convSubject({ batch: 1, channels: 4, size: 32, out: 16 }, true), convSubject({ batch: 1, channels: 3, size: 32, out: 1 }, true), attentionSubject(1, 2, 64, 32), chainSubject(1)]) {
  const { record } = await subject.prepare(device)
  await realize(...record())
}
await device.close()
for (const flag of ['no-liftoff', 'no-wasm-lazy-compilation', 'experimental-wasm-revectorize', 'trace-wasm-revectorize']) setFlagsFromString(`--${flag}`)
// One module, whose functions the trace numbers; its mark keeps it apart from what the device compiled.
const functions = new Map([...kernels.values()].map((kernel, i) => [`k${i}`, kernel.build()]))
void new WebAssembly.Module(encodeModule(functions, { shared: false, maximum: 1 }, 'traced'))
process.stderr.write([...kernels.keys()].join('\n'))
