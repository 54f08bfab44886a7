//! Networks, and which addresses are in them.

use std::net::IpAddr;

/// A network: `192.168.0.0/16`, `10.1.2.3`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
}

/// A network cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a network such as 10.0.0.0/8 or fd00::/8, found {0:?}")]
pub struct NetworkError(String);

impl Network {
    /// Returns true if an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        number(address) & self.mask == self.address
    }
}

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, length) =
            text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(bits), str::parse).ok().filter(|length| *length <= bits).ok_or_else(error)?;
        let mask = u128::MAX.checked_shl(bits - length).unwrap_or(0);
        Ok(Network { address: number(address) & mask, mask })
    }
}

/// Returns true if an address is in one of these networks; `None` are all networks.
pub(crate) fn is_from_any(networks: Option<&[Network]>, address: IpAddr) -> bool {
    networks.is_none_or(|networks| networks.iter().any(|network| network.contains(address)))
}

/// IPv4 as IPv6 has it (`::ffff:a.b.c.d`).
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().expect(network).contains(address.parse().expect(address))
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "1.2.3.4") && holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "example.org"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
