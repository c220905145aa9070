/** What is left after a run that failed: memory that is not to be had, errors before and after writing, plans that do not compile. On every device. */
import { afterAll, expect } from 'vitest'
import { DeviceError, StaleReadError, add, mul, realize, sum, tensor, variable } from '../engine/index.ts'
import type { Device } from '../engine/index.ts'
import { closeAll, list, openAll, withEach } from './devices.ts'
import { faulty } from './faults.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const each = (name: string, body: (device: Device) => Promise<void>): void => withEach(devices, name, body)

const large = Array.from({ length: 600 }, () => 1) // More than lives on the host.

each('no memory: nothing is committed, and what depended on it rejects with its error', async (real) => {
  const { device, faults } = faulty(real)
  const w = variable(large, { name: 'w', device })
  await realize(w)
  faults.full = true
  const y = mul(w, 2)
  w.assign(add(w, 1))
  const first = realize(y, w)
  const dependants = [realize(sum(y)), realize(add(w, 1))]
  w.assign(add(w, 10))
  dependants.push(realize(w))
  const results = await Promise.allSettled([first, ...dependants])
  faults.full = false
  for (const result of results) {
    const message = result.status === 'rejected' && result.reason instanceof DeviceError ? result.reason.message : 'no DeviceError'
    expect(message).toMatch(/^out of memory on \w+: mul needs 2400 bytes, 2400 of \d+ are held \(largest: variable w \[600\] 2400 bytes\); dispose of tensors you keep, or use a smaller batch$/)
  }
  expect((await w.data())[0]).toBe(1)
  w.assign(add(w, 5))
  expect((await w.data())[0]).toBe(6)
})

each('a failure in the run: the variables it writes say so until they are written again', async (real) => {
  const { device, faults } = faulty(real)
  const [w, other] = [variable([1], { name: 'w', device }), variable([5], { name: 'other', device })]
  await realize(w, other)
  faults.failure = new Error('the device caught fire')
  const loss = mul(w, 2)
  w.assign(add(w, 1))
  await expect(realize(loss, w)).rejects.toThrow('the device caught fire')
  expect(() => add(w, 1)).toThrow(DeviceError)
  expect(() => add(w, 1)).toThrow('variable w: a run failed while writing it (the device caught fire); assign or load it again before reading')
  await expect(loss.data()).rejects.toThrow('the device caught fire')
  other.assign(add(other, 1))
  expect(await list(other)).toEqual([6])
  w.assign(tensor([7], null, { device }))
  expect(await list(w)).toEqual([7])
  w.assign(add(w, 1))
  expect(await list(w)).toEqual([8])
})

each('runs queued behind a failed one: those that read it reject, others run', async (real) => {
  const { device, faults } = faulty(real)
  const [w, other] = [variable([1], { name: 'w', device }), variable([5], { name: 'other', device })]
  await realize(w, other)
  faults.failure = new Error('boom')
  w.assign(add(w, 1))
  const failed = realize(w)
  const dependant = mul(w, 3)
  const reads = realize(dependant)
  other.assign(mul(other, 2))
  const free = realize(other)
  await expect(failed).rejects.toThrow('boom')
  await expect(reads).rejects.toThrow('boom')
  await free
  expect(await list(other)).toEqual([10])
  await expect(dependant.data()).rejects.toThrow('boom')
})

each('two in a row, the first after it wrote: old values are stale, never what lies there by chance', async (real) => {
  const { device, faults } = faulty(real)
  const w = variable([1], { name: 'w', device })
  await realize(w)
  const old = mul(w, 2)
  faults.late = new Error('too late')
  w.assign(add(w, 10))
  const first = realize(w) // compiled; what comes next is not
  w.assign(tensor([3, 4], null, { device }).sum().reshape([1]))
  faults.uncompilable = new Error('cannot be')
  const second = realize(w)
  expect((await Promise.allSettled([first, second])).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await expect(old.data()).rejects.toThrow(StaleReadError)
  w.assign(tensor([7], null, { device }))
  expect(await list(w)).toEqual([7])
})

each('a value assigned from one that was withdrawn is reported once and forgotten; all else goes on', async (real) => {
  const { device, faults } = faulty(real)
  const [w, other] = [variable(large, { name: 'w', device }), variable([5], { name: 'other', device })]
  await realize(w, other)
  faults.full = true
  const y = mul(w, 2)
  w.assign(add(w, 1))
  const failed = realize(y)
  w.assign(add(w, 10)) // of a version that will not be
  await expect(failed).rejects.toThrow('out of memory')
  faults.full = false
  await expect(realize(w)).rejects.toThrow(StaleReadError)
  other.assign(add(other, 1))
  expect(await list(other)).toEqual([6])
  expect((await w.data())[0]).toBe(1)
  w.assign(add(w, 1))
  expect((await w.data())[0]).toBe(2)
})
