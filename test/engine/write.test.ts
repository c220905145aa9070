/** Host data go straight into variables, in the order of the queue; and variables are disposed of. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { add, mul, normal, realize, scalar, sum, tensor, variable } from '../../engine/index.ts'
import type { DType, TypedArray } from '../../engine/index.ts'
import { hostArray } from '../../engine/dtype.ts'
import { writeVariable } from '../../engine/write.ts'
import { encodeSafetensors, loadCheckpoint, readVariables } from '../../nn/index.ts'
import type { HostTensor } from '../../nn/index.ts'
import { expectAll } from '../devices.ts'

const devices = await expectAll()
const list = async (x: { data(): Promise<TypedArray> }): Promise<number[]> => [...(await x.data())]

describe.each(devices.map((device) => [device.name, device] as const))('on %s', (_, device) => {
  beforeEach(() => device.resetCounters())
  const cell = (values: readonly number[], name = 'w') => variable(tensor(values, null, { device }), { name })

  test.each<[DType, number[]]>([
    ['f32', [1.1, -0, 3e-40]], ['bf16', [1.5, -2, 3]], ['f16', [1.5, -65504, 2 ** -24]], ['i32', [-(2 ** 31), 7, 0]], ['u32', [2 ** 32 - 1, 0, 5]], ['u8', [255, 0, 3]], ['bool', [1, 0, 1]],
  ])('%s arrives as it is, and nothing is compiled or run', async (dtype, values) => {
    if (!device.supports(dtype)) return
    const w = variable(tensor([0, 0, 0], null, { dtype, device }))
    const data = hostArray(dtype, 3)
    data.set(values)
    await writeVariable(w, data)
    expect(await list(w)).toEqual([...data])
    expect(device.counters).toMatchObject({ submits: 0, plansCompiled: 0 })
  })

  test.each<[DType, number[], number[]]>([
    ['bf16', [0x3fc0, 0xc000, 0x0001, 0x7f80, 0x8000], [1.5, -2, 2 ** -133, Infinity, -0]],
    ['f16', [0x3e00, 0xfbff, 0x0001, 0x7c00, 0x8000], [1.5, -65504, 2 ** -24, Infinity, -0]],
  ])('%s arrives as the bits it is stored in, alone and from a file among others', async (dtype, halves, values) => {
    if (!device.supports(dtype)) return
    const make = () => variable(tensor([0, 0, 0, 0, 0], null, { dtype, device }))
    const [alone, wide] = [make(), variable(tensor([0, 0, 0, 0, 0], null, { device }))]
    await writeVariable(alone, Uint16Array.from(halves))
    expect(await list(alone)).toEqual(values)
    const held = { dtype, shape: [5], data: Float32Array.from(values) }
    const file = encodeSafetensors(new Map<string, HostTensor>([['a', held], ['b', { dtype: 'u8', shape: [3], data: Uint8Array.of(1, 2, 3) }], ['c', held], ['d', held]]))
    const [a, c] = [make(), make()]
    await loadCheckpoint({ a, c, d: wide }, file, { strict: false })
    expect([await list(a), await list(c), await list(wide)]).toEqual([values, values, values])
  })

  test('a write takes its turn: what was queued before sees the old value, what comes after the new one', async () => {
    const w = cell([1, 2])
    await realize(w)
    const [before, written] = [sum(w).item(), writeVariable(w, Float32Array.of(10, 20))]
    const after = sum(w).item()
    await written
    expect([await before, await after]).toEqual([3, 30])
  })

  test('what was assigned to it is forgotten; what was assigned to others and reads it is computed from the old value', async () => {
    const [w, other, apart] = [cell([1, 2]), cell([0, 0]), cell([5, 5])]
    await realize(w, other, apart)
    w.assign(mul(w, 100))
    await writeVariable(w, Float32Array.of(7, 8))
    other.assign(add(w, 1))
    apart.assign(mul(apart, 2))
    await writeVariable(w, Float32Array.of(9, 9))
    expect([await list(w), await list(other), await list(apart)]).toEqual([[9, 9], [8, 9], [10, 10]])
  })

  test('a tensor that reads the value before, and was not computed, says so', async () => {
    const w = cell([1, 2])
    await realize(w)
    const stale = mul(w, 2)
    await writeVariable(w, Float32Array.of(3, 4))
    await expect(stale.data()).rejects.toThrow('a tensor reads variable w at version 1, but the variable is at version 2')
  })

  test('where there is no memory the variable stays as it was, and another write mends it', async () => {
    const w = cell([1, 2])
    const allocate = vi.spyOn(device.backend, 'allocate').mockReturnValue(undefined)
    await expect(writeVariable(w, Float32Array.of(3, 4))).rejects.toThrow('out of memory')
    allocate.mockRestore()
    expect(() => w.read()).toThrow('variable w: a run failed while writing it')
    await writeVariable(w, Float32Array.of(3, 4))
    expect(await list(w)).toEqual([3, 4])
  })

  test('where a write fails halfway, the variable says so until another mends it', async () => {
    const w = cell([1, 2])
    await realize(w)
    const write = vi.spyOn(device.backend, 'write').mockImplementation(() => {
      throw new Error('torn')
    })
    await expect(writeVariable(w, Float32Array.of(3, 4))).rejects.toThrow('torn')
    write.mockRestore()
    expect(() => w.read()).toThrow('variable w: a run failed while writing it (torn); assign or load it again before reading')
    await writeVariable(w, Float32Array.of(3, 4))
    expect(await list(w)).toEqual([3, 4])
  })

  test.skipIf(device.name === 'reference')('what was written is held by the device alone', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const w = cell([1, 2, 3])
    const write = async (): Promise<WeakRef<ArrayBuffer>> => {
      const values = Float32Array.of(4, 5, 6)
      await writeVariable(w, values)
      return new WeakRef(values.buffer)
    }
    const written = await write()
    await new Promise((resolve) => setTimeout(resolve, 10))
    collect()
    expect(written.deref()).toBeUndefined()
    expect(await list(w)).toEqual([4, 5, 6])
  })

  test('a checkpoint is loaded without a plan, and evicts none', async () => {
    const names = Array.from({ length: 40 }, (__, i) => `w${i}`)
    const made = (seed: number) => Object.fromEntries(names.map((name, i) => [name, variable(normal([3, i + 1], { device }).add(seed), { name })]))
    const saved = made(1)
    await realize(...Object.values(saved))
    const file = encodeSafetensors(await readVariables(saved))
    const loaded = made(0)
    device.resetCounters()
    await loadCheckpoint(loaded, new Blob([file]))
    expect(device.counters).toMatchObject({ submits: 0, launches: 0, plansCompiled: 0 })
    for (const name of names) expect(Float32Array.from((await loaded[name]?.data()) ?? [])).toEqual(Float32Array.from((await saved[name]?.data()) ?? []))
  })

  test('a variable that is disposed of gives its memory back, once what is queued has run, and says so when it is used', async () => {
    const w = variable(tensor(new Float32Array(1000).fill(2), null, { device }), { name: 'w' })
    await realize(w)
    const held = device.bytesHeld
    const unrealised = mul(w, scalar(2, { device }))
    const total = sum(w).item()
    w.dispose()
    w.dispose()
    expect(await total).toBe(2000)
    await device.idle()
    expect(held - device.bytesHeld).toBe(4000)
    expect(() => w.read()).toThrow('read: variable w was disposed of; make another')
    expect(() => w.assign(tensor(new Float32Array(1000), null, { device }))).toThrow('assign: variable w was disposed of')
    await expect(writeVariable(w, new Float32Array(1000))).rejects.toThrow('write: variable w was disposed of')
    await expect(unrealised.data()).rejects.toThrow('a tensor reads variable w, which was disposed of')
  })

  test('one that was assigned and is disposed of is not computed', async () => {
    const w = cell([1, 2])
    w.dispose()
    await realize(sum(tensor([1, 2], null, { device })))
    expect(device.moved.list()).toEqual([])
    expect(() => w.read()).toThrow('was disposed of')
  })
})
