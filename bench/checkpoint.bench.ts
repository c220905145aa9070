/**
 * Reading and writing checkpoints: conversions on the host, then a file saved from and loaded into variables on the CPU
 * device, in bytes of the file per second. Run: node bench/checkpoint.bench.ts [MiB of the file] [threads]
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { realize } from '../engine/index.ts'
import { device as openDevice } from '../engine/device/open.ts'
import { zeros } from '../engine/functions/range.ts'
import { variable } from '../engine/variable.ts'
import type { Variable } from '../engine/index.ts'
import { formats } from '../nn/checkpoint/format.ts'
import type { FileDType } from '../nn/checkpoint/format.ts'
import { loadCheckpoint } from '../nn/checkpoint/load.ts'
import { openCheckpoint } from '../nn/checkpoint/open.ts'
import { saveCheckpoint } from '../nn/checkpoint/save.ts'

const [mebibytes = '1024', threads = '2'] = process.argv.slice(2)
const device = await openDevice('cpu', { threads: Number(threads) })
const folder = mkdtempSync(path.join(tmpdir(), 'langevin-bench-'))
const file = path.join(folder, 'model.safetensors')

async function seconds(act: () => Promise<unknown> | void): Promise<number> {
  const start = performance.now()
  await act()
  return (performance.now() - start) / 1000
}

function report(what: string, bytes: number, time: number): void {
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  console.log(`${what.padEnd(36)} ${(bytes / time / 1e9).toFixed(2).padStart(6)} GB/s   heap ${(heapUsed / 2 ** 20).toFixed(0)} MiB, buffers ${(arrayBuffers / 2 ** 20).toFixed(0)} MiB, most resident ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`)
}

console.log(device.description)
const count = 2 ** 22
for (const format of ['F32', 'F16', 'BF16', 'F64', 'I64'] as const satisfies FileDType[]) {
  const { bytes, decode, encode } = formats[format]
  const [data, raw] = [format === 'I64' ? Int32Array.from({ length: count }, (_, i) => i) : format === 'F64' ? new Float64Array(count).fill(0.1) : Float32Array.from({ length: count }, (_, i) => Math.sin(i)), new Uint8Array(count * bytes)]
  const times = { encode: [] as number[], decode: [] as number[] }
  for (let k = 0; k < 9; k++) {
    times.encode.push(await seconds(() => void encode(data, raw)))
    times.decode.push(await seconds(() => void decode(raw, data)))
  }
  for (const [what, list] of Object.entries(times)) report(`${what} ${format}`, raw.length, list.toSorted((x, y) => x - y)[4] ?? NaN)
}

const layers = Math.ceil((Number(mebibytes) * 2 ** 20) / (2048 * 2048 * 4))
const model: Record<string, Variable> = {}
for (let i = 0; i < layers; i++) {
  model[`layers.${i}.weight`] = variable(zeros([2048, 2048], { device }))
  model[`layers.${i}.bias`] = variable(zeros([2048], { device }))
}
await realize(...Object.values(model))
report('the model is made', 0, 1)
for (const format of ['F32', 'BF16', 'F16'] as const) {
  const save = await seconds(() => saveCheckpoint(file, model, { format: () => format }))
  const { size } = statSync(file)
  report(`save ${format}, ${(size / 2 ** 20).toFixed(0)} MiB`, size, save)
  report(`read ${format}`, size, await seconds(async () => {
    for await (const _ of (await openCheckpoint(file)).entries());
  }))
  report(`load ${format}`, size, await seconds(() => loadCheckpoint(model, file)))
}
rmSync(folder, { recursive: true })
await device.close()
