//! The descriptor in an OVA: which of its files is the disk that the system begins with.
//!
//! DMTF DSP0243, versions 1.0 to 2.1.

use crate::xml::{self, Element, XmlError};

/// Longest descriptor, bytes.
pub(super) const MAX_BYTES: u64 = 4 << 20;
/// CIM's number of a disk drive.
const DISK: &str = "17";

/// The file of the first disk of the first system, as the descriptor writes it; `None` when it says of none.
///
/// # Errors
/// When the descriptor is no XML, or the disk is in parts or a difference to another.
pub(super) fn first_disk(text: &str) -> Result<Option<String>, XmlError> {
    let root = xml::read(text)?;
    let empty = Element::default();
    let disks = root.child("DiskSection").unwrap_or(&empty);
    let files = root.child("References").unwrap_or(&empty);
    // Drives in the descriptor's order: the first one is what a machine begins with.
    let named = drives(&root)
        .into_iter()
        .find_map(|id| disks.all("Disk").find(|disk| disk.attribute("diskId") == Some(&id)));
    let Some(disk) = named.or_else(|| disks.child("Disk")) else { return Ok(None) };
    let lacks = |what: &str| XmlError::Lacks { what: what.to_owned() };
    if disk.attribute("parentRef").is_some() {
        return Err(lacks("a disk that stands alone; it is a difference to another"));
    }
    let Some(reference) = disk.attribute("fileRef") else { return Ok(None) };
    let Some(file) = files.all("File").find(|file| file.attribute("id") == Some(reference)) else {
        return Ok(None);
    };
    if file.attribute("chunkSize").is_some() {
        return Err(lacks("a disk in one piece; it is cut in chunks"));
    }
    Ok(file.attribute("href").map(str::to_owned))
}

/// Ids of the disks of the first system's drives.
fn drives(root: &Element) -> Vec<String> {
    let Some(hardware) = first_system(root).and_then(|s| s.child("VirtualHardwareSection")) else {
        return Vec::new();
    };
    let items = hardware.children.iter().filter(|c| c.name == "Item" || c.name == "StorageItem");
    items
        .filter(|item| item.text_of("ResourceType").is_some_and(|t| t.trim() == DISK))
        .filter_map(|item| item.text_of("HostResource"))
        // `ovf:/disk/ID`; early writers left the scheme out.
        .filter_map(|resource| resource.trim().rsplit_once("/disk/"))
        .map(|(_, id)| id.to_owned())
        .collect()
}

fn first_system(element: &Element) -> Option<&Element> {
    element.child("VirtualSystem").or_else(|| {
        element.all("VirtualSystemCollection").find_map(|collection| first_system(collection))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h18_h19_the_disk_is_the_first_drives() {
        let text = r#"<?xml version="1.0"?>
<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r">
 <ovf:References>
  <ovf:File ovf:id="f1" ovf:href="a-data.vmdk"/><ovf:File ovf:id="f2" ovf:href="disks/z-boot.vmdk"/>
 </ovf:References>
 <ovf:DiskSection><ovf:Disk ovf:diskId="d1" ovf:fileRef="f1"/><ovf:Disk ovf:diskId="d2" ovf:fileRef="f2"/></ovf:DiskSection>
 <ovf:VirtualSystem ovf:id="s"><ovf:VirtualHardwareSection>
  <ovf:Item><rasd:ResourceType>3</rasd:ResourceType></ovf:Item>
  <ovf:Item><rasd:HostResource>ovf:/disk/d2</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>
  <ovf:Item><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>
 </ovf:VirtualHardwareSection></ovf:VirtualSystem></ovf:Envelope>"#;
        assert_eq!(first_disk(text), Ok(Some("disks/z-boot.vmdk".to_owned())));
        let collection = text
            .replace("<ovf:VirtualSystem ", "<ovf:VirtualSystemCollection><ovf:VirtualSystem ")
            .replace("</ovf:VirtualSystem>", "</ovf:VirtualSystem></ovf:VirtualSystemCollection>");
        assert_eq!(first_disk(&collection), Ok(Some("disks/z-boot.vmdk".to_owned())));
        let parts = text.replace("ovf:id=\"f2\"", "ovf:id=\"f2\" ovf:chunkSize=\"1\"");
        assert!(first_disk(&parts).is_err());
        assert_eq!(first_disk("<Envelope/>"), Ok(None));
    }
}
