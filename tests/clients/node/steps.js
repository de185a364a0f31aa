// The steps of the client matrix on node-ble.
const { createBluetooth } = require('node-ble')

const PULSE = 'C8:2B:96:10:00:01'
const SERVICE = 'b1e50001-6d5e-4c1b-9e3a-1f0c2d3e4f50'
const GREETING = 'b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50'
const COUNTER = 'b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50'

function step (name, good) {
  if (!good) throw new Error(`step ${name} failed`)
  console.log(`STEP ${name}`)
}

async function main () {
  const { bluetooth, destroy } = createBluetooth()
  const adapter = await bluetooth.defaultAdapter()
  step('power', await adapter.isPowered())
  if (!await adapter.isDiscovering()) await adapter.startDiscovery()
  const device = await adapter.waitDevice(PULSE, 20000)
  step('discover', await device.getName() === 'Pulse HR-1')
  await adapter.stopDiscovery()
  const gone = new Promise(resolve => device.once('disconnect', resolve))
  await device.connect()
  step('connect', await device.isConnected())
  // node-ble asks whether the services are resolved, and listens for the change only after the answer. If it comes in
  // between, gatt() waits for ever, on bluetoothd, too.
  while (!await device.helper.prop('ServicesResolved')) await new Promise(resolve => setTimeout(resolve, 20))
  const gatt = await device.gatt()
  const service = await gatt.getPrimaryService(SERVICE)
  step('list', (await service.characteristics()).includes(GREETING))
  const greeting = await service.getCharacteristic(GREETING)
  step('read', (await greeting.readValue()).length > 0)
  await greeting.writeValue(Buffer.from('from node'), { type: 'request' })
  step('write', (await greeting.readValue()).toString() === 'from node')
  const counter = await service.getCharacteristic(COUNTER)
  const values = []
  const enough = new Promise(resolve => counter.on('valuechanged', value => {
    values.push(value.readUInt32BE())
    if (values.length === 3) resolve()
  }))
  await counter.startNotifications()
  await enough
  await counter.stopNotifications()
  step('notify', values[2] === values[0] + 2)
  await device.disconnect()
  await gone
  step('disconnect', !await device.isConnected())
  destroy()
}

main().catch(err => {
  console.error(err)
  process.exit(1)
})
