//! [`RegionPorts`] over AWS: one set of clients per backup location, made once.

use std::sync::{Arc, Mutex, PoisonError};

use tray_domain::mover_task::BucketLocation;
use tray_ledger::RemoteError;
use tray_ports::{RegionPorts, RegionServices};

use super::{aws_client::AwsClients, kms::KmsKeys, s3::S3Store, sts::StsSessions};

/// The backup locations of all Regions, with the operator's own rights.
pub struct AwsRegions {
    clients: AwsClients,
    /// A handful: one per Region, and one more for each change of a Region since the start.
    made: Mutex<Vec<(BucketLocation, RegionServices)>>,
}

impl AwsRegions {
    /// None made yet.
    pub fn new(clients: AwsClients) -> Self {
        Self {
            clients,
            made: Mutex::default(),
        }
    }

    fn make(&self, location: &BucketLocation) -> Result<RegionServices, RemoteError> {
        Ok(RegionServices {
            store: Arc::new(S3Store::new(&self.clients, location)?),
            keys: Arc::new(KmsKeys::new(&self.clients, location)?),
            sessions: Arc::new(StsSessions::new(&self.clients, location)?),
        })
    }
}

impl RegionPorts for AwsRegions {
    fn services(&self, location: &BucketLocation) -> Result<RegionServices, RemoteError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, services)) = made.iter().find(|(known, _)| known == location) {
            return Ok(services.clone());
        }
        let services = self.make(location)?;
        made.push((location.clone(), services.clone()));
        Ok(services)
    }
}
