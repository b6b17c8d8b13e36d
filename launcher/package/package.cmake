# What is installed beside the program, and the Debian packages vmrig and libqmp-json-dev:
#   cmake --workflow --preset package        makes build/package/*.deb

# Manual pages: frames by hand, filled by the program's own tables, so that they can't grow stale.
if(NOT VMRIG_SANITIZE)
  file(GLOB manual_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/launcher/man/*.cpp)
  add_executable(vmrig_man ${manual_sources})
  target_link_libraries(vmrig_man PRIVATE vmrig_commands)
  foreach(page vmrig.1 vmrig.json.5)
    set(frame ${PROJECT_SOURCE_DIR}/launcher/man/${page}.in)
    set(made ${PROJECT_BINARY_DIR}/man/${page})
    add_custom_command(OUTPUT ${made} COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
      COMMAND vmrig_man ${frame} ${made} DEPENDS vmrig_man ${frame} VERBATIM)
    list(APPEND pages ${made})
    string(REGEX MATCH "[15]$" section ${page})
    install(FILES ${made} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT vmrig)
  endforeach()
  add_custom_target(manual ALL DEPENDS ${pages})
endif()

set(completion ${PROJECT_SOURCE_DIR}/launcher/completion)
install(FILES ${completion}/vmrig.bash RENAME vmrig
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT vmrig)
install(FILES ${completion}/_vmrig DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT vmrig)
install(FILES ${completion}/vmrig.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT vmrig)

file(GLOB units CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/systemd/*.service)
install(FILES ${units} DESTINATION lib/systemd/system COMPONENT vmrig)

# What Debian wants of every package; debian.cmake makes more of it.
foreach(pair vmrig:vmrig qmp-json:libqmp-json-dev)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 component)
  list(GET pair 1 package)
  set(doc ${CMAKE_INSTALL_DATADIR}/doc/${package})
  install(FILES ${PROJECT_SOURCE_DIR}/launcher/package/copyright DESTINATION ${doc} COMPONENT ${component})
  install(FILES ${PROJECT_SOURCE_DIR}/CHANGELOG.md RENAME changelog DESTINATION ${doc} COMPONENT ${component})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/launcher/package/lintian-overrides RENAME vmrig
  DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides COMPONENT vmrig)
install(FILES ${PROJECT_SOURCE_DIR}/launcher/package/lintian-overrides-library RENAME libqmp-json-dev
  DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides COMPONENT qmp-json)
install(FILES ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vmrig COMPONENT vmrig)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vmrig COMPONENT vmrig
  USE_SOURCE_PERMISSIONS
  # The first builds vmrig itself; the second goes with the library.
  PATTERN quickstart.sh EXCLUDE PATTERN hotplug EXCLUDE)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/hotplug
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libqmp-json-dev/examples COMPONENT qmp-json)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vmrig)
set(CPACK_PACKAGE_VENDOR vmrig)
# Else it would be the first line of both descriptions.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGE_CONTACT "vmrig maintainers <vmrig@example.org>")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR})
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL vmrig qmp-json)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/launcher/package/debian.cmake)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_VMRIG_PACKAGE_NAME vmrig)
set(CPACK_DEBIAN_VMRIG_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_VMRIG_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_VMRIG_PACKAGE_RECOMMENDS "qemu-system-x86, qemu-utils")
set(CPACK_DEBIAN_VMRIG_PACKAGE_SUGGESTS "passt, pci.ids, openvswitch-switch")
set(CPACK_DEBIAN_VMRIG_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/launcher/package/postrm)
set(CPACK_DEBIAN_VMRIG_DESCRIPTION "launcher for tuned KVM/QEMU virtual machines
Starts a virtual machine from one JSON file, without libvirt and without a
daemon: it builds QEMU's command line, prepares the host (CPUs, hugepages,
bridges, SR-IOV functions), pins every thread before the guest runs,
supervises the machine to its end, and puts the host back.")

set(CPACK_DEBIAN_QMP-JSON_PACKAGE_NAME libqmp-json-dev)
set(CPACK_DEBIAN_QMP-JSON_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_QMP-JSON_PACKAGE_DEPENDS
  "nlohmann-json3-dev, libboost1.81-dev | libboost-dev (>= 1.81)")
set(CPACK_DEBIAN_QMP-JSON_DESCRIPTION "QMP client and server library for C++ (development files)
Speaks QEMU's machine protocol (QMP) with nlohmann_json and Boost.Asio: a
client with coroutines, a synchronous facade, events, file descriptors, a
server that shares one monitor among many clients, and a probe of what a
QEMU can do. A static library and its headers.")
include(CPack)
