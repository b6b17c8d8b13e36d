# Run by cpack between installing into its own folder and packing: what Debian has of its own.
file(GLOB docs ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*)
foreach(doc ${docs})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/changelog ${doc}/changelog.Debian COPYONLY)
endforeach()
file(GLOB_RECURSE plain ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/man/*.[15]
  ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*/changelog ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*/changelog.Debian)
foreach(file ${plain})
  execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()

# Where vmrig@.service looks for the configs.
file(MAKE_DIRECTORY ${CPACK_TEMPORARY_DIRECTORY}/vmrig/etc/vmrig)
