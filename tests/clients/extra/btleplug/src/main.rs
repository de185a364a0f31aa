// What a program on btleplug does; output as of ../bluer.
use btleplug::api::{
    Central, CentralEvent, CharPropFlags, Characteristic, Manager as _, Peripheral as _,
    ScanFilter, WriteType,
};
use btleplug::platform::{Adapter, Manager, Peripheral};
use futures::StreamExt;
use std::{future::Future, time::Duration};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

type Res<T> = Result<T, Box<dyn std::error::Error>>;

const PULSE: &str = "C8:2B:96:10:00:01";
const LOCK: &str = "E1:5D:0A:10:00:03";

fn vendor(n: u32) -> Uuid {
    Uuid::parse_str(&format!("b1e5{n:04x}-6d5e-4c1b-9e3a-1f0c2d3e4f50")).unwrap()
}

fn need(cond: bool, what: &str) -> Res<()> {
    if cond {
        Ok(())
    } else {
        Err(what.to_string().into())
    }
}

async fn step<T>(failed: &mut u32, what: &str, f: impl Future<Output = Res<T>>) -> Option<T> {
    let r = match timeout(Duration::from_secs(45), f).await {
        Ok(r) => r,
        Err(_) => Err("timed out".into()),
    };
    match r {
        Ok(v) => {
            println!("ok {what}");
            Some(v)
        }
        Err(e) => {
            println!("not ok {what}: {e:?}");
            *failed += 1;
            None
        }
    }
}

async fn heard(a: &Adapter, addr: &str) -> Res<Peripheral> {
    for _ in 0..100 {
        for p in a.peripherals().await? {
            if p.address().to_string() == addr {
                return Ok(p);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{addr} not found").into())
}

fn find(p: &Peripheral, u: Uuid) -> Res<Characteristic> {
    p.characteristics()
        .into_iter()
        .find(|c| c.uuid == u)
        .ok_or_else(|| format!("no {u}").into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Res<()> {
    let mut bad = 0;
    let b = &mut bad;
    let manager = Manager::new().await?;
    let adapter = manager
        .adapters()
        .await?
        .into_iter()
        .next()
        .ok_or("no adapter")?;
    if std::env::args().nth(1).as_deref() == Some("hold") {
        adapter.start_scan(ScanFilter::default()).await?;
        let p = heard(&adapter, PULSE).await?;
        p.connect().await?;
        p.discover_services().await?;
        p.subscribe(&find(&p, vendor(4))?).await?;
        let mut n = p.notifications().await?;
        while let Some(v) = n.next().await {
            println!("hold {v:?}");
        }
        return Ok(());
    }
    step(b, "power", async {
        println!(
            "# {} {:?}",
            adapter.adapter_info().await?,
            adapter.adapter_state().await
        );
        Ok(())
    })
    .await;
    step(b, "discover", async {
        let mut events = adapter.events().await?;
        adapter.start_scan(ScanFilter::default()).await?;
        let (mut m, mut s, mut d) = (0, 0, 0);
        while let Some(e) = events.next().await {
            match e {
                CentralEvent::ManufacturerDataAdvertisement { .. } => m += 1,
                CentralEvent::ServiceDataAdvertisement { .. } => s += 1,
                CentralEvent::DeviceDiscovered(id) => {
                    println!("# {id:?}");
                    d += 1
                }
                _ => {}
            }
            if m > 10 && s > 2 && d >= 7 {
                break;
            }
        }
        heard(&adapter, PULSE).await?;
        heard(&adapter, LOCK).await?;
        adapter.stop_scan().await?;
        Ok(())
    })
    .await;
    step(b, "discover by service", async {
        adapter
            .start_scan(ScanFilter {
                services: vec![Uuid::from_u128(0x0000180d_0000_1000_8000_00805f9b34fb)],
            })
            .await?;
        heard(&adapter, PULSE).await?;
        adapter.stop_scan().await?;
        Ok(())
    })
    .await;
    adapter.start_scan(ScanFilter::default()).await?;
    let p = heard(&adapter, PULSE).await?;
    let lock = heard(&adapter, LOCK).await?;
    adapter.stop_scan().await?;
    step(b, "properties", async {
        println!("# {:?}", p.properties().await?.ok_or("none")?);
        Ok(())
    })
    .await;
    step(b, "connect", async {
        p.connect().await?;
        need(p.is_connected().await?, "not connected")
    })
    .await;
    step(b, "list", async {
        p.discover_services().await?;
        let n = p.characteristics().len();
        need(n == 16, &format!("{n} characteristics"))?;
        let g = find(&p, vendor(2))?;
        need(
            g.properties == CharPropFlags::READ | CharPropFlags::WRITE,
            "properties",
        )?;
        need(g.descriptors.len() == 1, "descriptors")
    })
    .await;
    step(b, "read", async {
        let v = p.read(&find(&p, vendor(6))?).await?;
        need(v.len() > 100, "short")
    })
    .await;
    step(b, "descriptor read", async {
        let c = find(&p, vendor(2))?;
        let d = c.descriptors.iter().next().ok_or("no descriptor")?;
        need(p.read_descriptor(d).await? == b"Greeting", "value")
    })
    .await;
    step(b, "write with response", async {
        let c = find(&p, vendor(2))?;
        p.write(&c, b"from btleplug", WriteType::WithResponse)
            .await?;
        need(p.read(&c).await? == b"from btleplug", "value")
    })
    .await;
    step(b, "write without response", async {
        Ok(
            p.write(&find(&p, vendor(3))?, b"x", WriteType::WithoutResponse)
                .await?,
        )
    })
    .await;
    step(b, "notify", async {
        let c = find(&p, vendor(4))?;
        p.subscribe(&c).await?;
        let mut n = p.notifications().await?;
        for _ in 0..4 {
            println!("# {:?}", n.next().await.ok_or("ended")?.value);
        }
        p.unsubscribe(&c).await?;
        Ok(())
    })
    .await;
    step(b, "pair (by an encrypted read)", async {
        lock.connect().await?;
        lock.discover_services().await?;
        let v = lock
            .read(&find(
                &lock,
                Uuid::parse_str("10cc0003-37a1-4d2c-8f10-5b6a79881122")?,
            )?)
            .await?;
        need(v == b"1234", "value")?;
        lock.disconnect().await?;
        need(!lock.is_connected().await?, "connected")
    })
    .await;
    step(b, "disconnect", async {
        let mut events = adapter.events().await?;
        p.disconnect().await?;
        while let Some(e) = events.next().await {
            if let CentralEvent::DeviceDisconnected(_) = e {
                break;
            }
        }
        need(!p.is_connected().await?, "connected")
    })
    .await;
    step(b, "reconnect", async {
        p.connect().await?;
        p.discover_services().await?;
        need(
            p.read(&find(&p, vendor(2))?).await? == b"from btleplug",
            "value",
        )?;
        Ok(p.disconnect().await?)
    })
    .await;
    std::process::exit((bad > 0) as i32)
}
