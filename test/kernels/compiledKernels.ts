/** The kernels that programs make the CPU device compile, at the level `wide`: for what V8 makes of them. */
import * as fc from 'fast-check'
import { trainStepSubject, unets } from '../../bench/unets.ts'
import { attentionSubject, chainSubject, convSubject, matmulSubject } from '../../bench/subjects.ts'
import { CpuBackend } from '../../engine/device/cpu/backend.ts'
import type { Device } from '../../engine/device/device.ts'
import { device as open, realize } from '../../engine/index.ts'
import { applyMany, applyOn } from '../../engine/op.ts'
import type { AnyOp } from '../../engine/op.ts'
import type { WasmKernel } from '../../kernels/wasm/core/kernel.ts'
import { sourceOf } from '../../testing/samples.ts'
import type { Call } from '../op-calls.ts'
import { records } from '../op-records.ts'
import { table } from '../op-table.ts'

/** By key, in the order in which they are compiled. */
export async function kernelsOf(program: (device: Device) => Promise<void>): Promise<ReadonlyMap<string, WasmKernel>> {
  const kernels = new Map<string, WasmKernel>()
  await using device = await open('cpu', { sharedMemory: false, instructions: 'wide' })
  const { backend } = device
  if (!(backend instanceof CpuBackend)) throw new Error('no CPU device')
  const compile = backend.compile.bind(backend)
  backend.compile = async (graph) => {
    const executable = await compile(graph)
    for (const { kernel } of executable.calls) kernels.set(kernel.key, kernel)
    return executable
  }
  await program(device)
  return kernels
}

/** Training steps of two UNets, products, convolutions of few channels, attention, an optimiser. */
export async function steps(device: Device): Promise<void> {
  for (const subject of [...unets.map(trainStepSubject), matmulSubject(64, 'aTb'), convSubject({ batch: 1, channels: 4, size: 32, out: 16 }, true), convSubject({ batch: 1, channels: 3, size: 32, out: 1 }, true), attentionSubject(1, 2, 64, 32), chainSubject(1)]) {
    const { record } = await subject.prepare(device)
    await realize(...record())
  }
}

/** Some calls of every op. */
export async function opTable(device: Device): Promise<void> {
  const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call> }])[] = Object.entries(table)
  const ops = new Map<string, AnyOp>(Object.entries(records))
  for (const [name, { calls }] of rows) {
    const op = ops.get(name)
    if (op === undefined) throw new Error(`${name} is in the table but is no record`)
    for (const { operands, attributes } of fc.sample(calls, { seed: 3, numRuns: 4 })) {
      const inputs = operands.map((operand) => {
        const source = sourceOf(operand, device, 'f32')
        return source.view(source.leaf)
      })
      await realize(...(inputs.length === 0 ? [applyOn(device, op, attributes)] : applyMany(op, inputs, attributes)))
    }
  }
}
